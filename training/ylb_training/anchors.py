"""Anchors by k-means on the boxes of the training set."""

import numpy as np

from .dataset import Sample
from .loss import ANCHOR_RATIO


def kmeans(samples: list[Sample], height: int, width: int, count: int = 9, seed: int = 0,
           rounds: int = 100) -> np.ndarray:
    """`count` anchors [count, 2] (width, height in input pixels), smallest area first.

    Distance is the Euclidean one on the logarithms of the sides, the measure in which `ANCHOR_RATIO` is a radius.
    """
    sides = []
    for sample in samples:
        h, w = sample.image.shape[:2]
        ratio = min(height / h, width / w)
        sides.append(sample.labels[:, 3:5] * (w * ratio, h * ratio))
    points = np.log(np.maximum(np.concatenate(sides), 2.0))
    rng = np.random.default_rng(seed)
    best, best_cost = None, np.inf
    for _ in range(5):
        centres = points[rng.choice(len(points), count, replace=len(points) < count)]
        for _ in range(rounds):
            distance = ((points[:, None] - centres[None]) ** 2).sum(2)
            nearest = distance.argmin(1)
            moved = np.stack([points[nearest == k].mean(0) if (nearest == k).any() else centres[k]
                              for k in range(count)])
            if np.allclose(moved, centres):
                break
            centres = moved
        cost = distance.min(1).sum()
        if cost < best_cost:
            best, best_cost = centres, cost
    anchors = np.exp(best)
    return anchors[np.argsort(anchors.prod(1))]


def recall(anchors: np.ndarray, sides: np.ndarray) -> float:
    """Fraction of boxes [n, 2] for which some anchor is within the factor `ANCHOR_RATIO`."""
    ratio = sides[:, None] / anchors[None]
    return float((np.maximum(ratio, 1 / ratio).max(2) < ANCHOR_RATIO).any(1).mean())
