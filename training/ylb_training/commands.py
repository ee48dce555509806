"""The commands of the command line."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from . import anchors, checkpoint, dataset, original
from .augment import Augmentation
from .dataset import pixel_boxes
from .evaluate import evaluate
from .families import build, fresh
from .metrics import mean_average_precision
from .trainer import Recipe, Trainer, batches


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(v) for v in text.split("x"))
    except ValueError:
        raise SystemExit(f"error: the size is HEIGHTxWIDTH, not '{text}'") from None
    if height % 32 or width % 32 or min(height, width) < 32:
        raise SystemExit(f"error: height and width must be multiples of 32, not {text}")
    return height, width


def _recipe(args, height: int, width: int) -> Recipe:
    strength = Augmentation(mosaic=args.mosaic, scale=args.scale, turn=args.turn, flip_lr=args.flip_lr,
                            flip_ud=args.flip_ud, hue=args.hue)
    return Recipe(epochs=args.epochs, batch=args.batch, seed=args.seed, height=height, width=width, rate=args.rate,
                  decay=args.decay, plain=args.plain, minutes=args.minutes, cpu_time=args.cpu_time, every=args.every,
                  bf16=not args.no_bf16, distill=getattr(args, "distill", 0.0), class_gain=args.class_gain,
                  augmentation=strength)


def _patterns(entries: list[str]) -> dict[str, int]:
    """PATTERN=BITS entries as a map."""
    layers = {}
    for entry in entries:
        pattern, _, bits = entry.rpartition("=")
        if not pattern or not bits.isdigit() or not 1 <= int(bits) <= 8:
            raise SystemExit(f"error: expected PATTERN=BITS with 1 to 8 bits, not '{entry}'")
        layers[pattern] = int(bits)
    return layers


def _zero_points(args, network) -> bool:
    """Whether the activations have zero points: unless told otherwise, where they may be negative."""
    negative = network.settings["activation"] != "relu"
    if args.activation_grid == "zero-point" and not negative:
        raise SystemExit("error: behind a ReLU nothing is negative: its codes need no zero point")
    return negative and args.activation_grid != "symmetric"


def _sets(args) -> tuple[list[str], list, list]:
    return dataset.describe(args.data)["names"], *(dataset.load(args.data, s, args.memory) for s in ("train", "val"))


def _run(trainer: Trainer, restart: bool) -> None:
    if not restart and trainer.resume():
        print(f"resumed after epoch {trainer.epoch}")
    if trainer.recipe.epochs:
        trainer.run()
    else:
        trainer.measure(torch.zeros(3))
    print(f"best mean of mAP50 and mAP50-95 on val: {trainer.best:.4f}, in {trainer.out / 'best.pt'}")


def run_hold_out(args) -> None:
    """Write a data set file whose val is part of its train."""
    from .holdout import hold_out

    print(hold_out(args.data, Path(args.out), args.every, args.take, args.gap))


def run_anchors(args) -> None:
    """Print the anchors and how many boxes they reach."""
    height, width = _size(args.size)
    samples = dataset.load(args.data, "train")
    found = anchors.kmeans(samples, height, width, args.count)
    for w, h in found:
        print(f"{w:7.1f} x {h:.1f}")


def run_train(args) -> None:
    """Float training."""
    height, width = _size(args.size)
    names, train, val = _sets(args)
    torch.manual_seed(args.seed)
    if args.start:
        network, saved = checkpoint.load(args.start)
        if saved.get("widths"):
            raise SystemExit(f"error: {args.start} is quantized; the command qat goes on from it")
        if args.activation not in (None, network.settings["activation"]):
            other = build(network.settings | {"activation": args.activation})
            other.load_state_dict(network.state_dict())
            network = other
    else:
        network = fresh(args.model, len(names), args.activation or "relu", args.width,
                        lambda count: anchors.kmeans(train, height, width, count).tolist())
    _run(Trainer(network, names, train, val, _recipe(args, height, width), args.out, device=args.device), args.restart)


def run_qat(args) -> None:
    """Calibration and quantization-aware training."""
    from . import unlabelled
    from .quantize import Widths, calibrate, quantize, reestimate, requantize

    if bool(args.data) == bool(args.pictures):
        raise SystemExit("error: give --data, or --pictures to learn from a teacher alone")

    torch.manual_seed(args.seed)
    network, saved = checkpoint.load(args.start)
    height, width = saved["input"]
    recipe = _recipe(args, height, width)
    widths = Widths(args.weights, args.activations, args.edge_weights, _patterns(args.layer),
                    _patterns(args.activation_layer), _zero_points(args, network))
    teacher = None
    if args.distill or args.pictures:
        if not args.teacher and saved.get("widths"):
            raise SystemExit("error: --start is quantized: name the float checkpoint with --teacher")
        teacher, _ = checkpoint.load(args.teacher or args.start)
    if args.pictures:
        names, (train, val) = saved["names"], unlabelled.split(dataset.folder(args.pictures, args.memory))
        unlabelled.label(teacher, val, height, width)
        recipe.labels, recipe.distill = False, args.distill or 1.0
    else:
        names, train, val = _sets(args)
    if args.codes:
        from .calibrated import start

        if saved.get("widths"):
            raise SystemExit("error: --codes are those of the float network: give that with --start")
        network = start(network, args.codes, train, height, width)
        print(f"goes on from the codes of {args.codes}")
    elif saved.get("widths") and Widths(**saved["widths"]) == widths:
        print(f"goes on with the steps of {args.start}, {widths}")
    else:
        print(f"calibration of {widths}")
        network = requantize(network, widths) if saved.get("widths") else quantize(network, widths)
        coarse = min(args.weights, args.activations) <= 2
        calibrate(network, train, height, width, args.calibration, renormalize=coarse)
        if coarse:
            reestimate(network, [x for x, _ in batches(train[:128], recipe, 0)])
    trainer = Trainer(network, names, train, val, recipe, args.out, teacher, {"widths": network.widths}, args.device)
    _run(trainer, args.restart)


def run_sensitivity(args) -> None:
    """Which layers lose most at a low width."""
    from .sensitivity import measure

    network, saved = checkpoint.load(args.checkpoint, args.device)
    train, val = dataset.load(args.data, "train"), dataset.load(args.data, args.split)
    for line in measure(network, saved, train, val, args.weights, args.activations, args.base):
        print(line, flush=True)


def run_eval(args) -> None:
    """mAP over a split."""
    network, saved = checkpoint.load(args.checkpoint, args.device)
    names = saved["names"]
    samples = dataset.load(args.data, args.split)
    height, width = saved["input"]

    def progress(done: int, total: int) -> None:
        print(f"\r{done}/{total}", end="" if done < total else "\n", file=sys.stderr, flush=True)

    if args.exact:
        network = network.double()
    result = evaluate(network, samples, names, height, width, multi_label=not args.best_class,
                      progress=progress if sys.stderr.isatty() else None)
    _print(result, args, len(samples))


def _print(result: dict, args, pictures: int) -> None:
    if args.json:
        print(json.dumps(result))
        return
    print(f"{args.split}: {pictures} pictures, mAP50-95 {result['map50_95']:.4f}, mAP50 {result['map50']:.4f}")
    for name, values in result["per_class"].items():
        print(f"  {name:20s} boxes {values['boxes']:5d}  mAP50-95 {values['map50_95']:.4f}  mAP50 {values['map50']:.4f}")


def run_score(args) -> None:
    """mAP of stored detections of the runtime."""
    with open(args.found) as file:
        images = {Path(i["path"]).name: i for i in json.load(file)["images"]}
    samples = dataset.load(args.data, args.split)
    found = []
    for sample in samples:
        image = images.get(sample.path.name)
        if image is None or "error" in image:
            raise SystemExit(f"error: {args.found} has no detections of {sample.path.name}")
        rows = [[*(d["box"][k] for k in ("x1", "y1", "x2", "y2")), d["confidence"], d["class"]]
                for d in image["detections"]]
        found.append(np.array(rows, dtype=np.float64).reshape(-1, 6))
    names = dataset.describe(args.data)["names"]
    _print(mean_average_precision(found, [pixel_boxes(s) for s in samples], names), args, len(samples))


def run_agree(args) -> int:
    """mAP of the runtime beside that of PyTorch."""
    from .agreement import agree

    return agree(args)


def run_export(args) -> None:
    """ONNX with quantizers."""
    from .export import export

    network, saved = checkpoint.load(args.checkpoint)
    if args.form == "float" and saved.get("widths"):
        raise SystemExit(f"error: {args.checkpoint} is quantized; expected --form qonnx or qcdq")
    if args.form != "float" and not saved.get("widths"):
        raise SystemExit(f"error: {args.checkpoint} is not quantized; run the command qat first, or give --form float")
    export(network, saved["names"], *saved["input"], args.output, args.form)
    print(f"wrote {args.output}")


def run_import(args) -> None:
    """Checkpoint of ours from one of the original, or from a float ONNX file."""
    height, width = _size(args.size)
    names = dataset.describe(args.data)["names"] if args.data else []
    if args.checkpoint.lower().endswith(".onnx"):
        from . import float_onnx

        samples = dataset.load(args.data, "train") if args.data else dataset.folder(args.pictures) if args.pictures else []
        network, found = float_onnx.network(args.checkpoint, samples, height, width)
    else:
        found = original.read(args.checkpoint)
        if args.activation and found.activation not in ("", args.activation):
            raise SystemExit(f"error: {args.checkpoint} has {found.activation}, not {args.activation}; train it with another one "
                             "by 'train --start --activation'")
        network = original.network(found.state, found.activation or args.activation or "silu")
    names = names or list(found.names)
    classes = network.settings["classes"]
    if not names:
        raise SystemExit(f"error: {args.checkpoint} does not tell the names of its {classes} classes: give --data")
    if classes != len(names):
        raise SystemExit(f"error: {args.checkpoint} has {classes} classes, {args.data or 'its list of names'} has {len(names)}")
    torch.save({"settings": network.settings, "names": names, "state": network.state_dict(), "input": [height, width],
                "epoch": 0, "map": float(np.nan), "minutes": 0.0}, args.output)
    print(f"{network.settings.get('family', 'v5')}, {classes} classes, {network.settings['activation']}; wrote {args.output}")
