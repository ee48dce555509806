"""Runs a network over a split and measures it."""

import numpy as np
import torch

from .boxes import detections
from .dataset import Sample, letterbox, pixel_boxes
from .metrics import mean_average_precision
from .network import Network


@torch.no_grad()
def decoded(network: Network, images: np.ndarray) -> np.ndarray:
    """Decoded rows for uint8 RGB pictures [batch, height, width, 3] of the network's input size."""
    like = next(network.parameters())
    x = torch.from_numpy(images).to(like.device).permute(0, 3, 1, 2).to(like.dtype) / 255
    return network.detect.decode(network(x)).float().cpu().numpy()


def evaluate(network: Network, samples: list[Sample], names: list[str], height: int, width: int, *,
             confidence: float = 0.001, iou: float = 0.6, candidates: int = 3000, multi_label: bool = True,
             batch: int = 8, progress=None) -> dict:
    """mAP of a network over samples, in the pixels of the original pictures.

    Args:
        confidence, iou, candidates, multi_label: see `boxes.detections`.
        progress: called with (pictures done, pictures).
    """
    network.eval()
    found, truth = [], []
    for start in range(0, len(samples), batch):
        group = samples[start:start + batch]
        boxed = [letterbox(s.image, height, width) for s in group]
        for sample, (_, place), rows in zip(group, boxed, decoded(network, np.stack([b[0] for b in boxed]))):
            dets = detections(rows, confidence, iou, multi_label=multi_label, candidates=candidates)
            h, w = sample.image.shape[:2]
            dets[:, [0, 2]] = ((dets[:, [0, 2]] - place.left) / place.ratio).clip(0, w)
            dets[:, [1, 3]] = ((dets[:, [1, 3]] - place.top) / place.ratio).clip(0, h)
            found.append(dets)
            truth.append(pixel_boxes(sample))
        if progress:
            progress(min(start + batch, len(samples)), len(samples))
    return mean_average_precision(found, truth, names)
