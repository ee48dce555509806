"""Networks from checkpoints of the original YOLOv5 and YOLOv8: names of parameters, shapes, activation, class names."""

import re
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from . import pickled, yolov8
from .network import HEAD, SIZES, STEM, Detector, Network

ACTIVATIONS = {"SiLU": "silu", "ReLU": "relu", "LeakyReLU": "leaky"}
"""Classes of PyTorch that are known here."""

OTHERS = re.compile(r"\.(anchors|anchor_grid|strides?|dfl\.conv\.weight)$")
"""Stored numbers that follow from the plan."""


@dataclass
class Found:
    """What a file holds.

    Attributes:
        state: parameter name to tensor.
        activation: by its name here; empty where the file does not tell.
        names: of the classes; empty likewise.
    """

    state: dict[str, Tensor]
    activation: str = ""
    names: tuple[str, ...] = ()


def read(path: str) -> Found:
    """The parameters of a checkpoint as training wrote it, or of a file of a state dict."""
    content = pickled.read(path)
    if isinstance(content, dict) and content and all(isinstance(v, Tensor) for v in content.values()):
        return Found(dict(content))
    model = content
    if isinstance(content, dict):
        if "settings" in content:
            raise SystemExit(f"error: {path} is a checkpoint of this package: nothing to import")
        # The average of the weights is what the original evaluates and exports.
        model = next((content[k] for k in ("ema", "model") if isinstance(content.get(k), pickled.Stub)), None)
    state = pickled.state_dict(model) if isinstance(model, pickled.Stub) else {}
    if not state:
        raise SystemExit(f"error: {path} holds no network: expected a checkpoint of YOLOv5 or YOLOv8, or a state dict")
    kinds = Counter(m.kind for name, m in pickled.modules(model) if name.endswith(".act") or name == "act")
    activation = ""
    if kinds:
        kind = kinds.most_common(1)[0][0]
        if kind not in ACTIVATIONS or set(kinds) - {kind, "Identity"}:
            raise SystemExit(f"error: {path} has the activations {', '.join(sorted(kinds))}; expected one of SiLU, ReLU, LeakyReLU")
        slopes = {m.content.get("negative_slope") for _, m in pickled.modules(model) if m.kind == "LeakyReLU"}
        if kind == "LeakyReLU" and slopes - {0.1}:
            raise SystemExit(f"error: {path} has LeakyReLU of slope {', '.join(map(str, slopes))}; expected 0.1")
        activation = ACTIVATIONS[kind]
    names = model.content.get("names") or ()
    if isinstance(names, dict):
        names = [names[k] for k in sorted(names)]
    if not isinstance(names, (list, tuple)):
        names = ()
    return Found(state, activation, tuple(str(n) for n in names))


def network(state: dict[str, Tensor], activation: str) -> Detector:
    """A network with the weights of an original checkpoint.

    Args:
        state: parameter name to tensor, as `model.state_dict()` of the original gives it, with the convolutions and
            batch normalizations apart (not fused).
        activation: relu, silu or leaky.

    Raises `SystemExit` when names or shapes are not those of a YOLOv5 (v6, v7) or YOLOv8 detector with three levels.
    """
    state = {re.sub(r"^(module\.)?(model\.)?(?=model\.\d)", "", k): v.float() for k, v in state.items()}
    if not state.get(f"{STEM}.conv.weight", torch.zeros(0)).ndim == 4:
        raise SystemExit(f"error: not a YOLOv5 or YOLOv8 detector: no parameter '{STEM}.conv.weight'")
    made = _eighth(state, activation) if f"{yolov8.HEAD}.cv3.0.2.weight" in state else _fifth(state, activation)
    wanted = made.state_dict()
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    wrong = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    if missing and all(".bn." in k for k in missing):
        raise SystemExit("error: the batch normalizations of the checkpoint were fused into the convolutions; expected them apart")
    if missing or wrong:
        raise SystemExit(f"error: parameters missing: {missing[:3]}, of another shape: {wrong[:3]}")
    beyond = [k for k in state if k not in wanted and not OTHERS.search(k)]
    if beyond:
        raise SystemExit(f"error: parameters of something else than a detector, such as masks: {beyond[:3]}")
    made.load_state_dict({k: state.get(k, wanted[k]) for k in wanted})
    return made


def _fifth(state: dict[str, Tensor], activation: str) -> Network:
    try:
        width = state[f"{STEM}.conv.weight"].shape[0] / 64
        heads = state[f"{HEAD}.m.0.weight"].shape[0] // 3
        anchors = state[f"{HEAD}.anchors"] * torch.tensor([8.0, 16.0, 32.0]).view(3, 1, 1)
    except KeyError as missing:
        raise SystemExit(
            f"error: neither a YOLOv8 detector nor a YOLOv5 of v6 or v7 with three levels: no parameter {missing}. "
            "Others are converted in floats: export the network as ONNX, then yolo-lowbit convert FILE.onnx --calibrate FOLDER"
        ) from None
    except RuntimeError:
        raise SystemExit("error: not a YOLOv5 v6/v7 detector with three levels: other anchors") from None
    bottlenecks = len({k.split(".")[3] for k in state if k.startswith("model.6.m.")})
    for size, (depth, multiple) in SIZES.items():
        if multiple == width and max(round(9 * depth), 1) == bottlenecks:
            return Network(heads - 5, anchors.reshape(9, 2).tolist(), size, activation)
    raise SystemExit(f"error: no size of YOLOv5 has width {width} and {bottlenecks} bottlenecks in layer 6")


def _eighth(state: dict[str, Tensor], activation: str) -> yolov8.Network8:
    width = state[f"{STEM}.conv.weight"].shape[0] / 64
    classes = state[f"{yolov8.HEAD}.cv3.0.2.weight"].shape[0]
    bottlenecks = len({k.split(".")[3] for k in state if k.startswith("model.6.m.")})
    for size, (depth, multiple, _) in yolov8.SIZES.items():
        if multiple == width and max(round(6 * depth), 1) == bottlenecks:
            return yolov8.Network8(classes, size, activation)
    raise SystemExit(f"error: no size of YOLOv8 has width {width} and {bottlenecks} bottlenecks in layer 6")
