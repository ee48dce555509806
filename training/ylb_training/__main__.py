"""Command line: `python -m ylb_training COMMAND`."""

import argparse
import sys
from pathlib import Path

import cv2
import torch

from . import commands
from .blocks import ACTIVATIONS
from .dataset import MEMORY
from .families import MODELS


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of PyTorch (default 1)")
    parser.add_argument("--device", default="", help="cpu or cuda; default: cuda where there is one")


def _stage(parser: argparse.ArgumentParser, epochs: int, rate: float, plain: int, labels: bool = True) -> None:
    """Options that both training stages have; `labels`: whether there is no way without."""
    parser.add_argument("--data", required=labels, help="data set in YOLOv5's layout: its YAML file")
    parser.add_argument("--memory", type=int, default=MEMORY, help="pictures of a split kept in memory, in MiB; others are read "
                        f"at each use (default {MEMORY})")
    parser.add_argument("--out", required=True, help="folder for checkpoints and log")
    parser.add_argument("--epochs", type=int, default=epochs, help=f"default {epochs}; 0 with qat: calibration alone")
    parser.add_argument("--minutes", type=float, default=0.0, help="end the schedule after so many minutes, if the "
                        "epochs take longer (0: no limit)")
    parser.add_argument("--cpu-time", action="store_true", help="count minutes of CPU time, not those of the clock: for a "
                        "machine busy with other things")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=rate, help=f"peak learning rate of AdamW (default {rate})")
    parser.add_argument("--decay", type=float, default=0.02, help="weight decay of convolution weights")
    parser.add_argument("--class-gain", type=float, default=0.5, help="weight of the class loss, at 80 classes (default "
                        "0.5); higher where classes look alike")
    parser.add_argument("--plain", type=int, default=plain, help="last epochs without mosaic")
    parser.add_argument("--every", type=int, default=10, help="epochs between evaluations on val")
    parser.add_argument("--scale", type=float, default=0.5, help="random scale: factors 1 - S to 1 + S")
    parser.add_argument("--mosaic", type=float, default=1.0, help="share of mosaic pictures")
    parser.add_argument("--turn", type=float, default=0.5, help="chance that a mosaic tile is turned by 90, 180 or 270 "
                        "degrees; 0 where up and down matter")
    parser.add_argument("--flip-lr", type=float, default=0.5, help="chance of a left-right flip; 0 where letters matter")
    parser.add_argument("--flip-ud", type=float, default=0.5, help="chance of an upside-down flip")
    parser.add_argument("--hue", type=float, default=0.015, help="random hue: factors 1 - H to 1 + H")
    parser.add_argument("--no-bf16", action="store_true", help="float32 convolutions (slower on new CPUs)")
    parser.add_argument("--restart", action="store_true", help="start anew although the folder has a last.pt")
    _common(parser)


def _anchors(sub) -> None:
    p = sub.add_parser("anchors", help="k-means anchors of a data set")
    p.add_argument("--data", required=True)
    p.add_argument("--size", default="256x320", help="input, HEIGHTxWIDTH (default 256x320)")
    p.add_argument("--count", type=int, default=9, help="how many (default 9; YOLOv3-tiny has 6)")


def _hold_out(sub) -> None:
    p = sub.add_parser("hold-out", help="take a val split out of train, for data sets without one",
                       description="Pictures are taken in the order of the numbers in their names, as runs: frames next "
                       "to each other look alike. Writes train.txt, val.txt and data.yaml; test stays as it is.")
    p.add_argument("--data", required=True)
    p.add_argument("--out", required=True, help="folder for the three files")
    p.add_argument("--every", type=int, default=36, help="one run in so many pictures (default 36)")
    p.add_argument("--take", type=int, default=4, help="pictures in a run (default 4)")
    p.add_argument("--gap", type=int, default=1, help="pictures dropped on both sides of a run (default 1)")


def _train(sub) -> None:
    p = sub.add_parser("train", help="train a float detector from scratch, or from a checkpoint")
    _stage(p, 105, 2e-3, 16)
    p.add_argument("--size", default="256x320", help="input, HEIGHTxWIDTH, multiples of 32 (default 256x320)")
    p.add_argument("--model", default="n", choices=MODELS, metavar="MODEL",
                   help="n, s, m, l or x: YOLOv5 of that size; v8n to v8x: YOLOv8; v3-tiny (default n)")
    p.add_argument("--width", type=float, default=1.0, help="factor of the channels of v3-tiny (default 1)")
    p.add_argument("--activation", choices=list(ACTIVATIONS), help="default relu; with --start that of the checkpoint")
    p.add_argument("--start", help="float checkpoint to start from, instead of --model and --width")


def _qat(sub) -> None:
    p = sub.add_parser("qat", help="quantize a float checkpoint: calibration, then training")
    _stage(p, 40, 1e-3, 10, labels=False)
    p.add_argument("--pictures", help="instead of --data: a folder of pictures without labels; what the teacher finds is learned")
    p.add_argument("--start", required=True, help="checkpoint to start from: float, or quantized; one "
                   "of the same widths is trained on, others are calibrated anew")
    p.add_argument("--weights", type=int, default=4, help="bits of the weights, 1 to 8 (default 4)")
    p.add_argument("--activations", type=int, default=4, help="bits of the activations, 2 to 8 (default 4)")
    p.add_argument("--edge-weights", type=int, default=8, help="bits of first convolution and heads (default 8)")
    p.add_argument("--layer", action="append", default=[], metavar="PATTERN=BITS",
                   help="weight bits of the layers that match, as in 'model.9.*=8'; may be repeated")
    p.add_argument("--activation-layer", action="append", default=[], metavar="PATTERN=BITS",
                   help="the same for the bits of what these layers put out")
    p.add_argument("--codes", metavar="FILE.onnx", help="what 'yolo-lowbit convert --calibrate --keep FILE.onnx' made of the export of "
                   "--start: its codes, grids and widths are where training starts")
    p.add_argument("--activation-grid", default="auto", choices=["auto", "zero-point", "symmetric"],
                   help="of activations that may be negative, as of SiLU: with a zero point (auto), or symmetric")
    p.add_argument("--distill", type=float, default=0.0, help="weight of the distillation loss (0: none)")
    p.add_argument("--teacher", help="float checkpoint to learn from; default: --start where that is float")
    p.add_argument("--calibration", type=int, default=32, help="pictures for the calibration (default 32)")


def _sensitivity(sub) -> None:
    p = sub.add_parser("sensitivity", help="which layers lose most at a low width: the ones to give more bits",
                       description="One layer of the architecture at a time gets the low width, the others --base bits; "
                       "calibrated, not trained. Prints mAP for each.")
    p.add_argument("checkpoint", help="a float checkpoint")
    p.add_argument("--data", required=True)
    p.add_argument("--split", default="val", help="default val")
    p.add_argument("--weights", type=int, default=2, help="low width of the weights (default 2)")
    p.add_argument("--activations", type=int, default=2, help="low width of the activations (default 2)")
    p.add_argument("--base", type=int, default=8, help="width of all else (default 8)")
    _common(p)


def _eval(sub) -> None:
    p = sub.add_parser("eval", help="mAP of a checkpoint")
    p.add_argument("checkpoint")
    p.add_argument("--data", required=True)
    p.add_argument("--split", default="val", help="default val")
    p.add_argument("--json", action="store_true")
    p.add_argument("--best-class", action="store_true", help="report a box as its best class only, as the runtime does "
                   "(default: as every class above the threshold)")
    p.add_argument("--exact", action="store_true", help="compute in float64, to which the integer runtime is "
                   "equal (slow)")
    _common(p)


def _score(sub) -> None:
    p = sub.add_parser("score", help="mAP of what 'yolo-lowbit run --json' found in the pictures of a split",
                       description="Make the file with: yolo-lowbit run MODEL.ylb IMAGES --conf 0.001 --iou 0.6 "
                       "--no-save --json > FOUND.json")
    p.add_argument("found", help="JSON of yolo-lowbit run")
    p.add_argument("--data", required=True)
    p.add_argument("--split", default="val", help="default val")
    p.add_argument("--json", action="store_true")


def _agree(sub) -> None:
    p = sub.add_parser("agree", help="compare mAP of the integer runtime and of the quantized checkpoint",
                       description="Exit status 1 if they are further apart than the tolerance.")
    p.add_argument("checkpoint")
    p.add_argument("model", help="the .ylb file that was made from it")
    p.add_argument("--data", required=True)
    p.add_argument("--split", default="val", help="default val")
    p.add_argument("--program", default="yolo-lowbit", help="the command yolo-lowbit, if it is not in the PATH")
    p.add_argument("--tolerance", type=float, default=0.005, help="largest difference of mAP (default 0.005)")
    p.add_argument("--float32", action="store_true", help="also measure PyTorch in float32")
    p.add_argument("--json", action="store_true")
    _common(p)


def _export(sub) -> None:
    p = sub.add_parser("export", help="write a checkpoint as ONNX")
    p.add_argument("checkpoint")
    p.add_argument("-o", "--output", required=True)
    p.add_argument("--form", choices=["qonnx", "qcdq", "float"], default="qonnx",
                   help="float: of a checkpoint that is not quantized, for convert --calibrate (default qonnx)")


def _import(sub) -> None:
    p = sub.add_parser("import", help="take the weights of an original YOLOv5 (v6, v7) or YOLOv8",
                       description="Nothing that the file names is run: what is no tensor and no plain container is read without "
                       "its class.")
    p.add_argument("checkpoint", help="its best.pt, a file of its state dict, or a float ONNX export")
    p.add_argument("-o", "--output", required=True)
    p.add_argument("--data", help="for the class names, where the file lacks them, and pictures for an ONNX export")
    p.add_argument("--pictures", help="folder of pictures for an ONNX export, instead of --data")
    p.add_argument("--activation", choices=list(ACTIVATIONS), help="where the file does not tell (default silu)")
    p.add_argument("--size", default="640x640")


def parser() -> argparse.ArgumentParser:
    """The whole command line: a function above for each command."""
    top = argparse.ArgumentParser(prog="ylb_training", description="From photos to a low-bit YOLO export.")
    sub = top.add_subparsers(dest="command", required=True)
    for add in (_anchors, _hold_out, _train, _qat, _sensitivity, _eval, _score, _agree, _export, _import):
        add(sub)
    return top


def main() -> int:
    """Run the command; returns the exit status, 0 where the command returns nothing."""
    args = parser().parse_args()
    torch.set_num_threads(getattr(args, "threads", 1))
    cv2.setNumThreads(1)
    if hasattr(args, "device") and not args.device:
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    for name in ("out", "output"):
        if getattr(args, name, None):
            Path(getattr(args, name)).parent.mkdir(parents=True, exist_ok=True)
    return getattr(commands, "run_" + args.command.replace("-", "_"))(args) or 0


if __name__ == "__main__":
    sys.exit(main())
