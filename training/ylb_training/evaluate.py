"""Runs a network over a split and measures it."""

import numpy as np
import torch

from .boxes import detections
from .dataset import Sample, letterbox, pixel_boxes
from .metrics import mean_average_precision
from .network import Detector


@torch.no_grad()
def decoded(network: Detector, images: np.ndarray) -> np.ndarray:
    """Decoded rows for uint8 RGB pictures [batch, height, width, 3] of the network's input size."""
    like = next(network.parameters())
    x = torch.from_numpy(images).to(like.device).permute(0, 3, 1, 2).to(like.dtype) / 255
    return network.detect.rows(network(x)).float().cpu().numpy()


def find(network: Detector, samples: list[Sample], height: int, width: int, *, confidence: float, iou: float,
         candidates: int = 3000, multi_label: bool = True, batch: int = 8, progress=None) -> list[np.ndarray]:
    """Detections of every sample, [n, 6]: x1, y1, x2, y2 in pixels of its picture, score, class; see `evaluate`."""
    network.eval()
    found = []
    for start in range(0, len(samples), batch):
        images = [s.image for s in samples[start:start + batch]]
        boxed = [letterbox(image, height, width) for image in images]
        for image, (_, place), rows in zip(images, boxed, decoded(network, np.stack([b[0] for b in boxed]))):
            dets = detections(rows, confidence, iou, multi_label=multi_label, candidates=candidates)
            h, w = image.shape[:2]
            dets[:, [0, 2]] = ((dets[:, [0, 2]] - place.left) / place.ratio).clip(0, w)
            dets[:, [1, 3]] = ((dets[:, [1, 3]] - place.top) / place.ratio).clip(0, h)
            found.append(dets)
        if progress:
            progress(min(start + batch, len(samples)), len(samples))
    return found


def evaluate(network: Detector, samples: list[Sample], names: list[str], height: int, width: int, *,
             confidence: float = 0.001, iou: float = 0.6, candidates: int = 3000, multi_label: bool = True,
             batch: int = 8, progress=None) -> dict:
    """mAP of a network over samples, in the pixels of the original pictures.

    Args:
        confidence, iou, candidates, multi_label: see `boxes.detections`.
        progress: called with (pictures done, pictures).
    """
    found = find(network, samples, height, width, confidence=confidence, iou=iou, candidates=candidates,
                 multi_label=multi_label, batch=batch, progress=progress)
    return mean_average_precision(found, [pixel_boxes(s) for s in samples], names)
