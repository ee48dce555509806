"""Training without labels: what a float network finds is all there is to learn, and to measure against."""

import numpy as np

from .dataset import Sample
from .evaluate import find
from .network import Detector

EVERY = 10
"""One picture in so many is not trained on: the agreement with the teacher is measured there."""
CONFIDENCE, IOU = 0.25, 0.45
"""What the teacher finds is taken for true from this confidence on, boxes that overlap more being one."""


def split(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Pictures to train on, and pictures to measure on."""
    if len(samples) < 2 * EVERY:
        raise SystemExit(f"error: {len(samples)} pictures are too few to learn from a teacher; expected {2 * EVERY} or more")
    return [s for k, s in enumerate(samples) if k % EVERY], samples[::EVERY]


def label(teacher: Detector, samples: list[Sample], height: int, width: int) -> None:
    """Give the samples the boxes that the teacher finds."""
    for sample, found in zip(samples, find(teacher, samples, height, width, confidence=CONFIDENCE, iou=IOU, multi_label=False)):
        h, w = sample.image.shape[:2]
        x1, y1, x2, y2 = found[:, :4].T
        rows = np.stack((found[:, 5], (x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h), 1)
        sample.labels = rows.astype(np.float32)
