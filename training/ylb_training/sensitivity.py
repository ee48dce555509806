"""Which layers need bits: one at a time gets a low width, the rest stays wide."""

from torch import nn

from .evaluate import evaluate
from .families import build
from .network import Detector
from .quantize import Widths, calibrate, quantize, reestimate
from .trainer import Recipe, batches


def layers_of(network: Detector) -> list[int]:
    """Layers with convolutions, but for the first one and the head."""
    convolves = lambda layer: any(isinstance(m, nn.Conv2d) for m in layer.modules())
    return [k for k, layer in enumerate(network.model[:-1]) if k and convolves(layer)]


def measure(network: Detector, saved: dict, train: list, val: list, weights: int, activations: int, base: int):
    """Yields a line for each layer: mAP with that layer at the low widths, the worst being the most sensitive.

    Each is calibrated as before training, batch normalization included, but not trained.
    """
    height, width = saved["input"]
    images = [x for x, _ in batches(train[:64], Recipe(height=height, width=width), 0, False)]
    state = network.state_dict()
    for layer in (None, *layers_of(network)):
        pattern = f"model.{layer}.*"
        alone = f"model.{layer}"
        layers = {} if layer is None else {pattern: weights, alone: weights}
        outputs = {} if layer is None else {pattern: activations, alone: activations}
        copy = build(network.settings)
        copy.load_state_dict(state)
        quantize(copy, Widths(base, base, 8, layers, outputs, network.settings["activation"] != "relu"))
        calibrate(copy, train, height, width, 16, renormalize=layer is not None)
        if layer is not None:
            reestimate(copy, images)
        result = evaluate(copy, val, saved["names"], height, width, candidates=600)
        what = f"all W{base}A{base}" if layer is None else f"{alone} W{weights}A{activations}"
        yield f"{what:20s} mAP50 {result['map50']:.4f}  mAP50-95 {result['map50_95']:.4f}"
