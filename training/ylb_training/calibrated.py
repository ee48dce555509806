"""Training from what `yolo-lowbit convert --calibrate --keep FILE.onnx` chose: its codes, grids and biases.

Below 8 bits that command moves codes to where the error of each layer is least, which is a better start than rounding. The file
has the convolutions of the float export by their names, integers behind them, and quantizers behind what they put out.
"""

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from .blocks import Bottleneck, ConvBlock
from .dataset import Sample
from .fakequant import ActivationQuantizer
from .float_onnx import NAMED, module_name, renormalize
from .network import Detector
from .quantize import Widths, quantize

FUNCTIONS = {"Relu", "LeakyRelu", "Sigmoid", "Mul"}
"""What may stand between a convolution and its quantizer."""


@dataclass
class Grid:
    """A quantizer of the file: step, zero point, highest code, and the tensor behind it."""

    step: float
    zero: int
    high: int
    output: str


class File:
    """The graph, by what produces and what reads a tensor."""

    def __init__(self, path: str):
        try:
            self.graph = onnx.load(path).graph
        except Exception as error:  # the parser's own class is not public
            raise SystemExit(f"error: {path} is no ONNX file: {error}") from None
        self.path = path
        self.stored = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.stored[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.maker = {output: node for node in self.graph.node for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def convolutions(self) -> dict[str, onnx.NodeProto]:
        """Convolutions with weights in integers, by the name of the module."""
        found = {}
        for node in self.graph.node:
            maker = self.maker.get(node.input[1]) if node.op_type == "Conv" else None
            if maker is not None and maker.op_type == "DequantizeLinear":
                named = NAMED.search(module_name(node.name))
                found[named[0] if named else node.name] = node
        return found

    def weights(self, conv: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray, int]:
        """Codes, steps by output channel, and bits of a convolution."""
        dequantize = self.maker[conv.input[1]]
        high, name = 127, dequantize.input[0]
        if name in self.maker:
            clip = self.maker[name]
            high, name = int(self.stored[clip.input[2]]), clip.input[0]
        codes, steps = self.stored[name].astype(np.int64), self.stored[dequantize.input[1]].reshape(-1)
        return codes, np.broadcast_to(steps, len(codes)), (high + 1).bit_length()

    def grid(self, tensor: str, through: set[str] = FUNCTIONS) -> Grid | None:
        """The quantizer of a tensor, or of a function of it."""
        for node in self.readers.get(tensor, []):
            if node.op_type == "QuantizeLinear":
                return self._read(node)
        for node in self.readers.get(tensor, []):
            if node.op_type in through:
                found = self.grid(node.output[0])
                if found:
                    return found
        return None

    def _read(self, node: onnx.NodeProto) -> Grid:
        step, zero = float(self.stored[node.input[1]]), int(self.stored[node.input[2]])
        after, high = self.readers[node.output[0]][0], 255
        if after.op_type == "Clip":
            high = int(self.stored[after.input[2]])
            after = self.readers[after.output[0]][0]
        return Grid(step, zero, high, after.output[0])


def _slots(network: Detector, file: File, convs: dict[str, onnx.NodeProto]) -> dict[str, Grid]:
    """The grid of every slot, by the name of the module that has it; slots that blocks share have one grid."""
    grids, shared = {}, {}

    def put(name: str, slot: nn.Module, grid: Grid | None) -> None:
        if grid is None:
            raise SystemExit(f"error: {file.path} has no quantizer behind {name}")
        first, known = shared.setdefault(id(slot), (name, grid))
        if (known.step, known.zero, known.high) != (grid.step, grid.zero, grid.high):
            raise SystemExit(f"error: {file.path} has other quantizers behind {name} than behind {first}, with which it is joined")
        grids[name] = grid

    for name, module in network.named_modules():
        if isinstance(module, ConvBlock):
            put(name, module.quantizer, file.grid(convs[f"{name}.conv"].output[0]))
        elif isinstance(module, Bottleneck) and module.shortcut:
            inner = file.grid(convs[f"{name}.cv2.conv"].output[0])
            put(name, module.quantizer, inner and file.grid(inner.output, {"Add"}))
    return grids


def start(network: Detector, path: str, samples: list[Sample], height: int, width: int) -> Detector:
    """Quantize a float network as the file is.

    Args:
        network: the one that the float export was of.
        path: what `--keep` wrote.
        samples: pictures on which the statistics of the normalizations are measured anew.
    """
    file = File(path)
    convs = file.convolutions()
    missing = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and name not in convs]
    if missing:
        raise SystemExit(f"error: {path} has no convolution {missing[0]} with weights in integers: was it made from this network?")
    grids = _slots(network, file, convs)
    bits = {name: file.weights(node)[2] for name, node in convs.items()}
    negative = network.settings["activation"] != "relu"
    widths = Widths(8, 8, 8, {name.removesuffix(".conv"): width for name, width in bits.items()},
                    {name: grid.high.bit_length() for name, grid in grids.items()}, negative)
    quantize(network, widths)
    modules = dict(network.named_modules())
    with torch.no_grad():
        for name, node in convs.items():
            if name in modules:
                _take(modules, name, node, file)
        for name, grid in grids.items():
            quantizer = next(m for m in modules[name].quantizer.modules() if isinstance(m, ActivationQuantizer))
            if grid.zero and not quantizer.offset:
                raise SystemExit(f"error: {path} has a zero point behind {name}, where nothing is negative")
            quantizer.zero_point.fill_(grid.zero)
            quantizer.log_step.fill_(float(np.log(grid.step)))
    renormalize(network, samples, height, width)
    return network


def _take(modules: dict[str, nn.Module], name: str, node: onnx.NodeProto, file: File) -> None:
    """Codes and bias of one convolution: the normalization behind it, which they are folded with, is taken out of them."""
    conv, norm = modules[name], modules.get(name.removesuffix("conv") + "bn") if name.endswith(".conv") else None
    codes, steps, _ = file.weights(node)
    if codes.shape != tuple(conv.weight.shape):
        raise SystemExit(f"error: {file.path} has {name} of shape {list(codes.shape)}; expected {list(conv.weight.shape)}")
    steps = torch.tensor(np.asarray(steps, np.float64)).view(-1, 1, 1, 1)
    bias = torch.tensor(file.stored[node.input[2]].astype(np.float64)) if len(node.input) > 2 else torch.zeros(len(codes))
    factor = torch.ones(len(codes), dtype=torch.float64)
    if norm is not None:
        factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        # A channel that the normalization silences has no codes.
        factor = torch.where(factor.abs() < 1e-12, 1e-12, factor)
        norm.weight.copy_(factor * (norm.running_var.double() + norm.eps).sqrt())
        norm.bias.copy_(bias + factor * norm.running_mean.double())
    else:
        conv.bias.copy_(bias)
    factor = factor.view(-1, 1, 1, 1)
    conv.weight.copy_(torch.tensor(codes) * steps / factor)
    conv.weight_quant.tensor_quant.log_step.copy_((steps / factor.abs()).log())
