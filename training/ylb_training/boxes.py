"""Boxes: formats, overlaps and non-maximum suppression."""

import math

import numpy as np
import torch
from torch import Tensor


def to_corners(boxes: Tensor) -> Tensor:
    """(x, y, width, height) about the centre to (x1, y1, x2, y2)."""
    half = boxes[..., 2:4] / 2
    return torch.cat((boxes[..., :2] - half, boxes[..., :2] + half), -1)


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Overlap of every box of `a` [n, 4] with every box of `b` [m, 4], corners."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(bottom_right - top_left, 0, None).prod(2)
    area_a = (a[:, 2:] - a[:, :2]).prod(1)
    area_b = (b[:, 2:] - b[:, :2]).prod(1)
    return shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-9)


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU (Zheng et al. 2019, arXiv:1911.08287) of paired boxes given by centre and size, [n, 4] each."""
    eps = 1e-7
    ca, cb = to_corners(a), to_corners(b)
    shared = (torch.minimum(ca[:, 2:], cb[:, 2:]) - torch.maximum(ca[:, :2], cb[:, :2])).clamp(0).prod(1)
    union = a[:, 2:].prod(1) + b[:, 2:].prod(1) - shared + eps
    iou = shared / union
    hull = torch.maximum(ca[:, 2:], cb[:, 2:]) - torch.minimum(ca[:, :2], cb[:, :2])
    diagonal = hull.square().sum(1) + eps
    distance = (a[:, :2] - b[:, :2]).square().sum(1)
    angle = torch.atan(b[:, 2] / (b[:, 3] + eps)) - torch.atan(a[:, 2] / (a[:, 3] + eps))
    aspect = (4 / math.pi ** 2) * angle.square()
    with torch.no_grad():
        weight = aspect / (aspect - iou + 1 + eps)
    return iou - (distance / diagonal + aspect * weight)


def suppress(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float, limit: int = 300) -> np.ndarray:
    """Greedy non-maximum suppression within each class.

    Returns the indices kept, best score first; a box is dropped when its overlap with a better box of its class is
    *above* `iou`.
    """
    order = np.argsort(-scores, kind="stable")
    keep = []
    while order.size and len(keep) < limit:
        best, rest = order[0], order[1:]
        keep.append(best)
        overlap = iou_matrix(boxes[best][None], boxes[rest])[0]
        order = rest[(overlap <= iou) | (classes[rest] != classes[best])]
    return np.array(keep, dtype=np.int64)


def detections(rows: np.ndarray, confidence: float, iou: float, *, multi_label: bool = True,
               candidates: int = 3000) -> np.ndarray:
    """Decoded rows of one image to detections.

    Args:
        rows: [boxes, 5 + classes] as the `rows` of a head gives them.
        confidence: lowest objectness times class score that counts.
        iou: overlap above which a box is suppressed.
        multi_label: whether a box may be detected as several classes (the usual choice for mAP).
        candidates: at most so many boxes enter the suppression, the best ones.

    Returns [n, 6]: x1, y1, x2, y2, score, class.
    """
    rows = rows[rows[:, 4] > confidence]
    scores = rows[:, 5:] * rows[:, 4:5]
    if multi_label:
        index, classes = np.nonzero(scores > confidence)
    else:
        classes = scores.argmax(1) if len(scores) else np.zeros(0, dtype=np.int64)
        index = np.nonzero(scores[np.arange(len(scores)), classes] > confidence)[0]
        classes = classes[index]
    values = scores[index, classes]
    if len(values) > candidates:
        best = np.argsort(-values, kind="stable")[:candidates]
        index, classes, values = index[best], classes[best], values[best]
    half = rows[index, 2:4] / 2
    corners = np.concatenate((rows[index, :2] - half, rows[index, :2] + half), 1)
    keep = suppress(corners, values, classes, iou)
    return np.concatenate((corners[keep], values[keep, None], classes[keep, None].astype(corners.dtype)), 1)
