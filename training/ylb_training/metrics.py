"""COCO-style mean average precision.

Average precision over 101 recall points, IoU thresholds 0.50 to 0.95 in steps of 0.05, at most 100 detections per
picture (per class, as pycocotools counts), greedy matching in the order of the scores.
"""

import numpy as np

from .boxes import iou_matrix

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
LIMIT = 100


def match(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Which detections of one picture and class are right.

    Args:
        found: [n, 4] corners, best score first.
        truth: [m, 4] corners.

    Returns booleans [thresholds, n].
    """
    right = np.zeros((len(THRESHOLDS), len(found)), dtype=bool)
    if not len(found) or not len(truth):
        return right
    overlaps = iou_matrix(found, truth)
    for t, threshold in enumerate(THRESHOLDS):
        free = np.ones(len(truth), dtype=bool)
        for d, row in enumerate(overlaps):
            candidates = np.where(free, row, -1)
            # Of equal overlaps the last one wins, as in pycocotools.
            best = len(row) - 1 - int(candidates[::-1].argmax())
            if candidates[best] >= min(threshold, 1 - 1e-10):
                free[best] = False
                right[t, d] = True
    return right


def average_precision(scores: np.ndarray, right: np.ndarray, truths: int) -> np.ndarray:
    """AP at each threshold from all detections of a class; NaN where the class has no boxes."""
    if truths == 0:
        return np.full(len(THRESHOLDS), np.nan)
    order = np.argsort(-scores, kind="mergesort")
    hits = right[:, order].cumsum(1)
    values = np.zeros(len(THRESHOLDS))
    for t, true in enumerate(hits):
        if not len(true):
            continue
        recall = true / truths
        precision = true / np.arange(1, len(true) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        index = np.searchsorted(recall, RECALLS, side="left")
        values[t] = np.where(index < len(precision), precision[np.minimum(index, len(precision) - 1)], 0).mean()
    return values


def mean_average_precision(found: list[np.ndarray], truth: list[np.ndarray], names: list[str]) -> dict:
    """mAP over pictures.

    Args:
        found: per picture [n, 6]: x1, y1, x2, y2, score, class.
        truth: per picture [m, 5]: class, x1, y1, x2, y2.
        names: class names.

    Returns `map50_95`, `map50` and `per_class` (name to the same two).
    """
    per_class, table = {}, []
    for index, name in enumerate(names):
        scores, right, truths = [], [], 0
        for dets, boxes in zip(found, truth):
            own = dets[dets[:, 5] == index]
            own = own[np.argsort(-own[:, 4], kind="mergesort")][:LIMIT]
            goal = boxes[boxes[:, 0] == index, 1:]
            truths += len(goal)
            scores.append(own[:, 4])
            right.append(match(own[:, :4], goal))
        values = average_precision(np.concatenate(scores), np.concatenate(right, 1), truths)
        table.append(values)
        per_class[name] = {"map50_95": float(values.mean()), "map50": float(values[0]), "boxes": truths}
    table = np.array(table)
    return {"map50_95": float(np.nanmean(table)), "map50": float(np.nanmean(table[:, 0])), "per_class": per_class}
