"""The networks that there are, by the name of `--model`."""

from .network import SIZES, Detector, Network
from .yolov3 import Tiny
from .yolov8 import SIZES as SIZES8
from .yolov8 import Network8

FAMILIES = {"v5": Network, "v8": Network8, "v3-tiny": Tiny}

MODELS = [*SIZES, *(f"v8{size}" for size in SIZES8), "v3-tiny"]
"""What `--model` takes: a letter alone is a size of YOLOv5."""


def build(settings: dict) -> Detector:
    """The network of a checkpoint's settings, with fresh weights."""
    settings = dict(settings)
    return FAMILIES[settings.pop("family", "v5")](**settings)


def fresh(model: str, classes: int, activation: str, width: float, anchors) -> Detector:
    """A network to train from scratch; `anchors` gives as many anchors as it is asked for."""
    if model == "v3-tiny":
        return Tiny(classes, anchors(Tiny.ANCHORS), width, activation)
    if width != 1.0:
        raise SystemExit("error: --width is for v3-tiny; the others come in sizes")
    if model.startswith("v8"):
        return Network8(classes, model[2:], activation)
    return Network(classes, anchors(9), model, activation)
