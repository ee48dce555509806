"""A val split out of train, for data sets that come without one."""

import re
from pathlib import Path

import yaml

from .dataset import describe, pictures


def natural(path: Path) -> list:
    """A key that orders names by the numbers in them: img2 before img10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def divide(files: list[Path], every: int, take: int, gap: int) -> tuple[list[Path], list[Path]]:
    """Train and val: of each `every` pictures in number order, the last `take` but `gap` go to val.

    `gap` pictures on both sides of a run are in neither, since neighbours look alike.
    """
    train, val = [], []
    start = every - take - gap
    for position, file in enumerate(sorted(files, key=natural)):
        place = position % every
        if start <= place < start + take:
            val.append(file)
        elif place < start - gap:
            train.append(file)
    return train, val


def hold_out(data: str, out: Path, every: int, take: int, gap: int) -> str:
    """Write `train.txt`, `val.txt` and `data.yaml` into the folder `out`; returns a line for people."""
    if take < 1 or every <= take + 2 * gap:
        raise SystemExit("error: a run and its gaps must be shorter than --every")
    described = describe(data)
    train, val = divide(pictures(described, "train"), every, take, gap)
    if not train or not val:
        raise SystemExit(f"error: too few pictures in train of {data} for --every {every}")
    out.mkdir(parents=True, exist_ok=True)
    for name, files in (("train", train), ("val", val)):
        (out / f"{name}.txt").write_text("".join(f"{file.resolve()}\n" for file in files))
    document = {"train": "train.txt", "val": "val.txt", "names": described["names"]}
    if "test" in described:
        entries = described["test"] if isinstance(described["test"], list) else [described["test"]]
        document["test"] = [str((described["root"] / entry).resolve()) for entry in entries]
    (out / "data.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return f"{len(train)} pictures for train, {len(val)} for val, in {out / 'data.yaml'}"
