"""Does the integer runtime reach the mAP of the fake-quantized network? Same pixels, same settings, two programs.

The pictures are written anew as PNG, which takes the difference between JPEG decoders out of the comparison, and
PyTorch computes in float64: in float32 it gets about one activation code in a million wrong by a near tie, and what
follows from that code as well.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import cv2
import yaml

from . import checkpoint, dataset
from .evaluate import evaluate

CONFIDENCE, IOU = 0.001, 0.6
"""The defaults of `yolo-lowbit eval`; so are at most 300 boxes a picture, of up to 30000 candidates."""
CANDIDATES = 30000


def write_copy(samples: list[dataset.Sample], names: list[str], folder: Path) -> Path:
    """A data set of the same pictures as PNG, its only split called `all`; returns its YAML file."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number, sample in enumerate(samples):
        name = f"{number:06d}"
        if not cv2.imwrite(str(folder / "images" / f"{name}.png"), cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR)):
            raise SystemExit(f"error: cannot write a copy of {sample.path} into {folder}")
        rows = [f"{int(row[0])} {' '.join(repr(float(v)) for v in row[1:])}\n" for row in sample.labels]
        (folder / "labels" / f"{name}.txt").write_text("".join(rows))
    file = folder / "data.yaml"
    file.write_text(yaml.safe_dump({"all": "images", "names": names}, sort_keys=False))
    return file


def run_runtime(program: str, model: str, data: Path, split: str) -> dict:
    """The document of `yolo-lowbit eval --json`."""
    command = [program, "eval", model, str(data), "--split", split, "--json", "--quiet",
               "--conf", str(CONFIDENCE), "--iou", str(IOU)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemExit(f"error: cannot run {program}: {error}; name the program with --program") from None
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def agree(args) -> int:
    """Print the figures of both; 1 if they are further apart than the tolerance."""
    network, saved = checkpoint.load(args.checkpoint, args.device)
    if not saved.get("widths"):
        raise SystemExit(f"error: {args.checkpoint} is not quantized; run the command qat first")
    samples = dataset.load(args.data, args.split)
    names = saved["names"]
    with tempfile.TemporaryDirectory() as folder:
        runtime = run_runtime(args.program, args.model, write_copy(samples, names, Path(folder) / "set"), "all")
    files = run_runtime(args.program, args.model, Path(args.data), args.split)
    size = saved["input"]

    def pytorch(network) -> dict:
        return evaluate(network, samples, names, *size, confidence=CONFIDENCE, iou=IOU, candidates=CANDIDATES)

    rows = {"runtime": runtime}
    if args.float32:
        rows["PyTorch, float32"] = pytorch(network)
    rows["PyTorch, float64"] = pytorch(network.double())
    rows["runtime, pictures as they are"] = files
    apart = max(abs(runtime[key] - rows["PyTorch, float64"][key]) for key in ("map50", "map50_95"))
    if args.json:
        figures = {name: {key: row[key] for key in ("map50", "map50_95")} for name, row in rows.items()}
        print(json.dumps({"pictures": len(samples), "apart": apart, "figures": figures}))
    else:
        print(f"{args.split}: {len(samples)} pictures")
        for name, row in rows.items():
            print(f"  {name:30s}  mAP50 {row['map50']:.4f}  mAP50-95 {row['map50_95']:.4f}")
        print(f"runtime and PyTorch in float64 are {apart:.4f} apart; at most {args.tolerance} is asked")
    return 0 if apart <= args.tolerance else 1
