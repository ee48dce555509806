"""Turns a float network into a quantized one (Brevitas), and calibrates it."""

from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas import config
from brevitas.inject import ExtendedInjector
from brevitas.proxy import ActQuantProxyFromInjector, WeightQuantProxyFromInjector
from torch import nn

from .blocks import QuantizerSlot
from .dataset import Sample, letterbox
from .fakequant import ActivationQuantizer, WeightQuantizer
from .families import build
from .network import Detector

# Our quantizers are set up by `initialize` and by loading, never again behind our back.
config.REINIT_ON_STATE_DICT_LOAD = False


class _Weights(ExtendedInjector):
    proxy_class = WeightQuantProxyFromInjector
    tensor_quant = WeightQuantizer
    signed = True
    narrow_range = True
    float_to_int_impl_type = "ROUND"


class _Activations(ExtendedInjector):
    proxy_class = ActQuantProxyFromInjector
    tensor_quant = ActivationQuantizer
    narrow_range = False
    float_to_int_impl_type = "ROUND"


@dataclass
class Widths:
    """Bit widths of a network.

    Attributes:
        weights, activations: widths of all layers but those named next.
        edge_weights: width of the weights of the first convolution and of the detection head.
        layers: exceptions, pattern of the layer's name (as in `model.2.m.0.cv1`) to weight width.
        activation_layers: exceptions, pattern of the layer whose output is quantized to activation width. Tensors that
            share a quantizer have the width of the first of them.
        zero_points: whether activations that may be negative are on a grid with a zero point, which wastes no levels below
            the least of them; without, on a symmetric one.
    """

    weights: int = 4
    activations: int = 4
    edge_weights: int = 8
    layers: dict[str, int] = field(default_factory=dict)
    activation_layers: dict[str, int] = field(default_factory=dict)
    zero_points: bool = False

    def of(self, name: str, edges: tuple[str, ...]) -> int:
        """Weight width of the convolution of the given name; `edges` are the patterns of those at the edges."""
        for pattern, bits in self.layers.items():
            if fnmatch(name.removesuffix(".conv"), pattern):
                return bits
        edge = any(fnmatch(name, pattern) for pattern in edges)
        return self.edge_weights if edge else self.weights

    def of_activation(self, name: str) -> int:
        """Activation width of the quantizer of the given name."""
        for pattern, bits in self.activation_layers.items():
            if fnmatch(name.removesuffix(".quantizer"), pattern):
                return bits
        return self.activations

    def __str__(self) -> str:
        mixed = "".join(f", {k} W{v}" for k, v in self.layers.items())
        mixed += "".join(f", {k} A{v}" for k, v in self.activation_layers.items())
        mixed += ", zero points" if self.zero_points else ""
        return f"W{self.weights}A{self.activations} (edges W{self.edge_weights}{mixed})"


def _convolution(old: nn.Conv2d, bits: int) -> qnn.QuantConv2d:
    new = qnn.QuantConv2d(old.in_channels, old.out_channels, old.kernel_size, stride=old.stride, padding=old.padding,
                          bias=old.bias is not None, weight_quant=_Weights.let(bit_width=bits))
    with torch.no_grad():
        new.weight.copy_(old.weight)
        if old.bias is not None:
            new.bias.copy_(old.bias)
    new.weight_quant.tensor_quant.initialize(new.weight)
    return new


def _activation(bits: int, signed: bool, fixed_step: float = 0.0, offset: bool = False) -> qnn.QuantIdentity:
    return qnn.QuantIdentity(act_quant=_Activations.let(bit_width=bits, signed=signed, fixed_step=fixed_step, offset=offset))


def quantize(network: Detector, widths: Widths) -> Detector:
    """Replace convolutions and slots of a float network by quantized ones, in place.

    Slots that blocks share stay shared. The input gets an unsigned 8 bit quantizer with step 1/255, on which the bytes
    of an image are the codes. Activations of functions other than ReLU are signed, or have zero points.
    """
    negative = network.settings["activation"] != "relu"
    offset = negative and widths.zero_points
    made: dict[int, nn.Module] = {}
    for name, module in list(network.named_modules()):
        for key, child in list(module.named_children()):
            full = f"{name}.{key}" if name else key
            if isinstance(child, nn.Conv2d) and not isinstance(child, qnn.QuantConv2d):
                setattr(module, key, _convolution(child, widths.of(full, network.EDGES)))
            elif isinstance(child, QuantizerSlot):
                if id(child) not in made:
                    made[id(child)] = (_activation(8, False, 1 / 255) if full == "input_quantizer"
                                       else _activation(widths.of_activation(full), negative and not offset, offset=offset))
                setattr(module, key, made[id(child)])
    network.widths = asdict(widths)
    return network


def activation_quantizers(network: nn.Module) -> list[ActivationQuantizer]:
    """All activation quantizers, each once."""
    return [m for m in network.modules() if isinstance(m, ActivationQuantizer)]


@torch.no_grad()
def calibrate(network: Detector, samples: list[Sample], height: int, width: int, count: int = 32,
              renormalize: bool = False) -> None:
    """Set the steps of the activations from `count` pictures.

    With `renormalize`, batch normalization takes its statistics from the pictures. Weights of one or two bits need
    that: behind them, the statistics of the float network would let the activations grow from layer to layer. Call
    `reestimate` afterwards.
    """
    network.train(renormalize)
    quantizers = activation_quantizers(network)
    for q in quantizers:
        q.samples = []
    device = next(network.parameters()).device
    chosen = np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)
    for start in range(0, len(chosen), 8):
        images = np.stack([letterbox(samples[i].image, height, width)[0] for i in chosen[start:start + 8]])
        network(torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255)
    for q in quantizers:
        q.finish()
    network.eval()


@torch.no_grad()
def reestimate(network: Detector, images, momentum: float | None = None) -> None:
    """Measure the statistics of batch normalization anew over batches of images (low widths need it)."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = momentum  # None: the plain mean over all batches
    network.train()
    for batch in images:
        network(batch)
    for m, value in zip(norms, kept):
        m.momentum = value
    network.eval()


def requantize(network: Detector, widths: Widths) -> Detector:
    """A network of other widths with the float weights of a quantized one; to be calibrated anew.

    Going down in steps (4 bit, then 2, then 1) starts each width from weights that already fit a coarse grid.
    """
    fresh = build(network.settings)
    state = network.state_dict()
    fresh.load_state_dict({k: state[k] for k in fresh.state_dict()})
    return quantize(fresh, widths)
