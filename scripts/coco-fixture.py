"""Writes eval/tests/data/coco.json: detections drawn at random, and what pycocotools says about them.

    pip install pycocotools==2.0.11
    python scripts/coco-fixture.py
"""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CLASSES = 5
"""Class 3 has objects but is never found, class 4 is found but has no objects."""
PICTURES = 24
CROWDED = 5
"""This picture has more than 100 detections of class 0."""


def picture(rng: np.random.Generator, crowded: bool) -> dict:
    """Objects [class, x1, y1, x2, y2] and guesses [class, confidence, x1, y1, x2, y2], in whole pixels."""
    objects, guesses = [], []
    for _ in range(rng.integers(0, 9)):
        label = int(rng.choice([0, 0, 0, 1, 1, 2, 3]))
        x, y, w, h = (int(v) for v in rng.integers((0, 0, 8, 8), (500, 400, 120, 90)))
        objects.append([label, x, y, x + w, y + h])
        for _ in range(rng.integers(0, 3)):
            if label == 3:
                continue
            found = label if rng.random() < 0.85 else int(rng.integers(0, 3))
            jitter = np.round(rng.normal(0, rng.choice([1, 4, 12]), 4)).astype(int)
            x1, y1, x2, y2 = (int(v) for v in np.array([x, y, x + w, y + h]) + jitter)
            # Two decimals, so that some confidences are equal.
            guesses.append([found, round(float(rng.beta(5, 3)), 2), x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)])
    noise = 115 if crowded else int(rng.integers(0, 6))
    for _ in range(noise):
        x, y, w, h = (int(v) for v in rng.integers((0, 0, 8, 8), (500, 400, 120, 90)))
        label = 0 if crowded else int(rng.choice([0, 1, 2, 4]))
        guesses.append([label, round(float(rng.beta(1, 4)), 2), x, y, x + w, y + h])
    order = rng.permutation(len(guesses))
    return {"objects": objects, "guesses": [guesses[k] for k in order]}


def coco_metric(pictures: list[dict]) -> dict:
    """pycocotools' figures over all classes and by class; null where a class has no objects."""
    box = lambda x1, y1, x2, y2: [x1, y1, x2 - x1, y2 - y1]
    truth, found = [], []
    for number, content in enumerate(pictures):
        for label, *edges in content["objects"]:
            x, y, w, h = box(*edges)
            truth.append({"id": len(truth) + 1, "image_id": number, "category_id": label, "bbox": [x, y, w, h],
                          "area": w * h, "iscrowd": 0})
        for label, confidence, *edges in content["guesses"]:
            found.append({"image_id": number, "category_id": label, "bbox": box(*edges), "score": confidence})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": k} for k in range(len(pictures))], "annotations": truth,
                        "categories": [{"id": k} for k in range(CLASSES)]}
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(found), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][:, :, :, 0, 2]
    value = lambda part: None if (part < 0).all() else float(part[part > -1].mean())
    return {"map50_95": float(run.stats[0]), "map50": float(run.stats[1]),
            "per_class": [{"map50_95": value(precision[:, :, k]), "map50": value(precision[0, :, k])}
                          for k in range(CLASSES)]}


def main() -> None:
    rng = np.random.default_rng(2024)
    pictures = [picture(rng, k == CROWDED) for k in range(PICTURES)]
    lines = ",\n".join("  " + json.dumps(content, separators=(",", ":")) for content in pictures)
    expected = json.dumps(coco_metric(pictures))
    path = Path(__file__).parent.parent / "eval/tests/data/coco.json"
    path.write_text(f'{{"pictures": [\n{lines}\n],\n"pycocotools": {expected}}}\n')


if __name__ == "__main__":
    main()
