"""Data sets in the layout of YOLOv5: a YAML file, `images/<split>` and `labels/<split>`."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}

MEMORY = 4096
"""Pictures of a split take at most so many MiB of memory, unless told otherwise."""


class Sample:
    """One picture with its boxes.

    Attributes:
        image: uint8 RGB, [height, width, 3]; read anew at each use where it was not kept.
        labels: [n, 5]: class, then centre x, centre y, width, height as fractions of the picture.
        path: where the picture came from.
    """

    def __init__(self, image: np.ndarray | None, labels: np.ndarray, path: Path):
        self.kept, self.labels, self.path = image, labels, path

    @property
    def image(self) -> np.ndarray:
        return read(self.path) if self.kept is None else self.kept


def read(file: Path) -> np.ndarray:
    """A picture as uint8 RGB."""
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit(f"error: cannot read the picture {file}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def describe(path: str) -> dict:
    """The YAML file of a data set, with `names` as a list and `root` as a folder.

    Raises `SystemExit` with a sentence when the file lacks what is needed.
    """
    file = Path(path)
    if not file.is_file():
        raise SystemExit(f"error: no data set file {file}")
    data = yaml.safe_load(file.read_text())
    names = data.get("names")
    if isinstance(names, dict):
        names = [names[k] for k in sorted(names)]
    if not names:
        raise SystemExit(f"error: {file} has no 'names'")
    root = Path(data.get("path") or ".")
    data["root"] = root if root.is_absolute() else file.parent / root
    data["names"] = names
    return data


def pictures(data: dict, split: str) -> list[Path]:
    """Paths of the pictures of a split, in the order of their names.

    A split is a folder, a text file with one path a line, or a list of those. Paths in a text file that start with
    "./" are relative to that file, as in YOLOv5; others are relative to `root`.
    """
    entries = data[split] if isinstance(data[split], list) else [data[split]]
    files = []
    for entry in (data["root"] / entry for entry in entries):
        if entry.is_dir():
            files += [f for f in entry.iterdir() if f.suffix.lower() in SUFFIXES]
        elif entry.is_file():
            lines = [line.strip() for line in entry.read_text().splitlines() if line.strip()]
            files += [(entry.parent if line.startswith("./") else data["root"]) / line for line in lines]
    return sorted(files)


def label_path(picture: Path) -> Path:
    """The label file of a picture: the last folder `images` of its path becomes `labels`, the suffix `.txt`."""
    parts = list(picture.with_suffix(".txt").parts)
    for k in reversed(range(len(parts) - 1)):
        if parts[k] == "images":
            parts[k] = "labels"
            break
    return Path(*parts)


def load(path: str, split: str, memory: int = MEMORY) -> list[Sample]:
    """The pictures of a split in the order of their names: as many as fit are read into `memory` MiB, the others at each use."""
    data = describe(path)
    if split not in data:
        raise SystemExit(f"error: {path} has no split '{split}'")
    files = pictures(data, split)
    if not files:
        raise SystemExit(f"error: no pictures in {data[split]} of {path}")
    samples = []
    for file in files:
        label_file = label_path(file)
        rows = np.loadtxt(label_file, ndmin=2, dtype=np.float32) if _has_rows(label_file) else np.zeros((0, 5))
        labels = rows.astype(np.float32).reshape(-1, 5)
        if len(labels) and (labels[:, 0].max() >= len(data["names"]) or labels.min() < 0):
            raise SystemExit(f"error: {label_file} has a class or a coordinate out of range")
        samples.append(Sample(None, labels, file))
    return keep(samples, memory)


def folder(path: str, memory: int = MEMORY) -> list[Sample]:
    """All pictures of a folder, without boxes, in the order of their names."""
    if not Path(path).is_dir():
        raise SystemExit(f"error: no folder {path}")
    files = sorted(f for f in Path(path).rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"error: no pictures in {path}")
    return keep([Sample(None, np.zeros((0, 5), np.float32), file) for file in files], memory)


def keep(samples: list[Sample], memory: int) -> list[Sample]:
    """Read pictures until they take `memory` MiB.

    Pictures are used in any order, so which of them are kept makes no difference, and one that is dropped for another would
    only have to be read again.
    """
    room = memory * 2 ** 20
    for sample in samples:
        image = read(sample.path) if room > 0 else None
        room -= image.nbytes if image is not None else 0
        if room < 0:
            break
        sample.kept = image
    missing = next((s.path for s in samples if s.kept is None and not s.path.is_file()), None)
    if missing:
        raise SystemExit(f"error: no picture {missing}")
    return samples


def _has_rows(file: Path) -> bool:
    return file.is_file() and file.read_text().strip() != ""


@dataclass
class Placement:
    """Where a letterboxed picture lies: `input = picture * ratio + (left, top)`."""

    ratio: float
    left: int
    top: int


def letterbox(image: np.ndarray, height: int, width: int, fill: int = 114) -> tuple[np.ndarray, Placement]:
    """Fit a picture into `height` x `width` with its aspect kept and bars of `fill` (OpenCV INTER_LINEAR)."""
    h, w = image.shape[:2]
    ratio = min(height / h, width / w)
    inner_w, inner_h = round(w * ratio), round(h * ratio)
    left, top = round((width - inner_w) / 2 - 0.1), round((height - inner_h) / 2 - 0.1)
    if (inner_w, inner_h) != (w, h):
        image = cv2.resize(image, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR)
    out = np.full((height, width, 3), fill, dtype=np.uint8)
    out[top:top + inner_h, left:left + inner_w] = image
    return out, Placement(ratio, left, top)


def pixel_boxes(sample: Sample) -> np.ndarray:
    """Boxes of a sample in pixels of its picture: [n, 5]: class, x1, y1, x2, y2."""
    h, w = sample.image.shape[:2]
    cls, x, y, bw, bh = sample.labels.T
    return np.stack((cls, (x - bw / 2) * w, (y - bh / 2) * h, (x + bw / 2) * w, (y + bh / 2) * h), 1)
