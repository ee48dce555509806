"""Networks from float ONNX exports of YOLOv5 and YOLOv8: parameters by name, by the names of nodes, or in the order of execution.

An export has its batch normalizations folded into the convolutions. Training needs them apart, with statistics that fit: they are
measured on pictures, and the network computes what it computed. Whether it is the network of the file is not believed but
tried: both must give the same boxes for the same picture.
"""

import ast
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.utils import Extractor
from torch import Tensor, nn

from . import original, yolov8
from .blocks import ConvBlock
from .dataset import Sample, letterbox
from .network import HEAD, Detector, Network

PICTURES = 32
"""The statistics are measured on so many."""
NAMED = re.compile(r"model\.\d+\..*$")
"""A module of the original, in whatever it is wrapped."""
QUANTIZERS = {"QuantizeLinear", "DynamicQuantizeLinear", "Quant", "BipolarQuant", "FakeQuantize", "ConvInteger", "QLinearConv"}


def _torch(name: str, compute) -> type:
    """An operator for the evaluator of ONNX that PyTorch computes: its own are loops in Python."""

    def run(self, *inputs, **attributes):
        tensors = [None if x is None else torch.from_numpy(np.array(x, np.float32)) for x in inputs]
        with torch.no_grad():
            return (compute(attributes, *tensors).numpy().astype(inputs[0].dtype),)

    return type(name, (OpRun,), {"op_domain": "", "_run": run})


def _pads(attributes: dict, x: Tensor, value: float) -> Tensor:
    """The tensor with what `pads` adds around it: rows before, columns before, rows behind, columns behind."""
    top, left, bottom, right = attributes.get("pads") or (0, 0, 0, 0)
    return nn.functional.pad(x, (left, right, top, bottom), value=value)


def _convolve(attributes: dict, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return nn.functional.conv2d(_pads(attributes, x, 0.0), weight, bias, tuple(attributes.get("strides") or (1, 1)),
                                dilation=tuple(attributes.get("dilations") or (1, 1)), groups=attributes.get("group") or 1)


def _pool(attributes: dict, x: Tensor) -> Tensor:
    return nn.functional.max_pool2d(_pads(attributes, x, float("-inf")), tuple(attributes["kernel_shape"]),
                                    tuple(attributes.get("strides") or (1, 1)))


def _enlarge(attributes: dict, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None,
             sizes: Tensor | None = None) -> Tensor:
    factors = scales if scales is not None and len(scales) else sizes / torch.tensor(x.shape)
    return x.repeat_interleave(round(float(factors[2])), 2).repeat_interleave(round(float(factors[3])), 3)


OPERATORS = [_torch("Conv", _convolve), _torch("MaxPool", _pool), _torch("Resize", _enlarge)]


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The first output of a graph."""
    return ReferenceEvaluator(model, new_ops=OPERATORS).run([model.graph.output[0].name], inputs)[0]


@dataclass
class Conv:
    """A convolution of the graph: its name as a parameter's, weight, bias or None, and the tensor it puts out."""

    name: str
    weight: np.ndarray
    bias: np.ndarray | None
    output: str
    norm: list[np.ndarray] | None = None
    epsilon: float = 0.0


def module_name(node: str) -> str:
    """A module's name from that of its node, as in /model.2/m/m.0/cv1/conv/Conv: model.2.m.0.cv1.conv."""
    parts = [p for p in node.split("/") if p][:-1]
    kept = [p for p, after in zip(parts, [*parts[1:], ""]) if not after.startswith(p + ".")]
    return ".".join(kept)


def convolutions(graph: onnx.GraphProto) -> list[Conv]:
    """The convolutions with stored weights, in the order of the graph, with the normalizations behind them."""
    stored = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in graph.initializer
              if t.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            stored[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    found = {}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in stored:  # parameters that are equal are stored once
            stored[node.output[0]] = stored[node.input[0]]
        elif node.op_type == "Conv" and node.input[1] in stored:
            weight = stored[node.input[1]]
            named = re.search(r"model\.\d+\..*(?=\.weight$)", node.input[1]) or NAMED.search(module_name(node.name))
            bias = stored[node.input[2]] if len(node.input) > 2 else None
            found[node.output[0]] = Conv(named[0] if named else node.name, weight, bias, node.output[0])
        elif node.op_type == "BatchNormalization" and node.input[0] in found:
            conv = found[node.input[0]]
            conv.norm = [stored[name] for name in node.input[1:5]]
            conv.epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    # A convolution of the weights 0, 1, 2 ... takes the means of YOLOv8's distributions.
    return [c for c in found.values() if c.weight.shape[:2] != (1, 16) or c.weight.size != 16]


def state_of(convs: list[Conv]) -> dict[str, Tensor]:
    """Parameters by name; folded normalizations become ones that do nothing but add the bias."""
    state = {}
    for conv in convs:
        state[f"{conv.name}.weight"] = torch.tensor(conv.weight)
        if not conv.name.endswith(".conv"):
            state[f"{conv.name}.bias"] = torch.tensor(conv.bias if conv.bias is not None else np.zeros(len(conv.weight), np.float32))
            continue
        channels, norm = len(conv.weight), conv.name.removesuffix("conv") + "bn"
        one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        gamma, beta, mean, variance = conv.norm or (one, zero, zero, one - conv.epsilon)
        if conv.bias is not None:
            beta = beta + conv.bias * gamma / np.sqrt(variance + conv.epsilon)
        values = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance + conv.epsilon - 1e-3}
        state.update({f"{norm}.{k}": torch.tensor(np.asarray(v, np.float32)) for k, v in values.items()})
    return state


def activation_of(graph: onnx.GraphProto) -> str:
    """The activation function, by the operators that there are most of."""
    kinds = Counter(node.op_type for node in graph.node)
    known = {"relu": kinds["Relu"], "leaky": kinds["LeakyRelu"], "silu": kinds["Sigmoid"] + kinds["Swish"]}
    others = sum(kinds[k] for k in ("HardSwish", "HardSigmoid", "Softplus", "Tanh", "Elu", "Gelu", "PRelu", "Clip"))
    best = max(known, key=known.get)
    if others > known[best] or kinds["Conv"] > 2 * known[best]:
        raise SystemExit("error: expected one of SiLU, ReLU, LeakyReLU behind the convolutions")
    return best


def anchors_of(model: onnx.ModelProto, heads: list[Conv], size: tuple[int, int]) -> list[list[float]]:
    """The anchors of YOLOv5, which is what the decode makes of heads of zeros."""
    names = [head.output for head in heads]
    decode = Extractor(onnx.shape_inference.infer_shapes(model)).extract_model(names, [model.graph.output[0].name])
    shapes = [(1, len(head.weight), size[0] // stride, size[1] // stride) for head, stride in zip(heads, (8, 16, 32))]
    kinds = {v.name: v.type.tensor_type.elem_type for v in decode.graph.input}
    types = [np.float16 if kinds.get(name) == onnx.TensorProto.FLOAT16 else np.float32 for name in names]
    rows = run(decode, {n: np.zeros(s, t) for n, s, t in zip(names, shapes, types)})
    found, start = [], 0
    for shape in shapes:
        cells = shape[2] * shape[3]
        found += [rows[0, start + cells * k, 2:4].astype(float).tolist() for k in range(3)]
        start += 3 * cells
    return found


def renormalize(network: Detector, samples: list[Sample], height: int, width: int) -> None:
    """Give the batch normalizations the statistics of pictures; the network computes what it computed."""
    sums: dict[nn.Module, list] = {}

    def add(norm: nn.Module, inputs: tuple) -> None:
        x = inputs[0].double()
        entry = sums.setdefault(norm, [0.0, 0.0, 0])
        entry[0] += x.sum((0, 2, 3))
        entry[1] += x.square().sum((0, 2, 3))
        entry[2] += x.numel() // x.shape[1]

    network.eval()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks = [m.register_forward_pre_hook(add) for m in norms]
    chosen = np.linspace(0, len(samples) - 1, min(PICTURES, len(samples))).astype(int)
    with torch.no_grad():
        for index in chosen:
            image, _ = letterbox(samples[index].image, height, width)
            network(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for norm in norms:
            total, squares, count = sums[norm]
            mean = total / count
            variance = (squares / count - mean.square()).clamp(min=0)
            slope = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            norm.bias += (slope * (mean - norm.running_mean.double())).float()
            norm.weight.copy_(slope * (variance + norm.eps).sqrt())
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)


def check(network: Detector, model: onnx.ModelProto, size: tuple[int, int]) -> None:
    """Refuse a network that does not find what the file finds in a picture of noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (1, 3, size[0] // 8, size[1] // 8))
    picture = (np.kron(coarse, np.ones((1, 1, 8, 8))) / 255).astype(np.float32)
    value = model.graph.input[0]
    half = value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    theirs = run(model, {value.name: picture.astype(np.float16) if half else picture})
    with torch.no_grad():
        ours = network.eval().detect.decode(network(torch.from_numpy(picture))).numpy()
    if ours.shape != theirs.shape:
        raise SystemExit(f"error: the file puts out {list(theirs.shape)}, its network as known here {list(ours.shape)}")
    # Numbers of 16 bits differ in the fourth digit, and sums of them more.
    narrow = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    bar = 0.02 if narrow else 1e-3
    far = np.abs(ours - theirs.astype(np.float32)) > bar * np.abs(ours) + bar
    if far.mean() > 0.001:
        raise SystemExit(f"error: {100 * far.mean():.1f} % of what the file puts out is something else in its network as known here")


def in_order(convs: list[Conv], network: Detector, size: tuple[int, int]) -> None:
    """Name convolutions by the order in which the network of the same plan runs its own."""
    names, order = {m: name for name, m in network.named_modules()}, []
    hooks = [m.register_forward_hook(lambda m, *_: order.append(m)) for m in names if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, *size))
    for hook in hooks:
        hook.remove()
    for conv, module in zip(convs, order, strict=True):
        if conv.weight.shape != tuple(module.weight.shape):
            raise SystemExit(f"error: the convolution \"{conv.name}\" has weights {list(conv.weight.shape)}; expected "
                             f"{list(module.weight.shape)}")
        conv.name = names[module]


def _unnamed(convs: list[Conv], activation: str, size: tuple[int, int]) -> None:
    """Names for convolutions of a file that lost them, if it is a plan that is known by its number of convolutions and stem."""
    width = len(convs[0].weight)
    outputs, sixth = len(convs[-1].weight), convs[0].weight.shape[2] == 6  # YOLOv5 starts with a window of 6x6
    for letter, plan in (original.SIZES if sixth else yolov8.SIZES).items():
        if round(plan[1] * 64) != width:
            continue
        made = (Network(max(outputs // 3 - 5, 1), [(8.0, 8.0)] * 9, letter, activation) if sixth
                else yolov8.Network8(outputs, letter, activation))
        if sum(isinstance(m, nn.Conv2d) for m in made.modules()) == len(convs):
            return in_order(convs, made, size)
    raise SystemExit(f"error: neither names nor order of the {len(convs)} convolutions are those of YOLOv5 or YOLOv8")


def names_of(model: onnx.ModelProto) -> tuple[str, ...]:
    """Class names of the metadata, where a dict is written as in JSON or in Python."""
    text = {p.key: p.value for p in model.metadata_props}.get("names", "")
    try:
        names = ast.literal_eval(text)
        return tuple(str(names[k]) for k in sorted(names, key=int)) if isinstance(names, dict) else tuple(map(str, names))
    except (ValueError, SyntaxError, TypeError):
        return ()


def network(path: str, samples: list[Sample], height: int, width: int) -> tuple[Detector, original.Found]:
    """The network of a float export, and what the file tells of it.

    Args:
        samples: pictures to measure the statistics of the normalizations on.
        height, width: the size at which the network is to be used.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # the parser's own class is not public
        raise SystemExit(f"error: {path} is no ONNX file: {error}") from None
    graph = model.graph
    quantizers = {n.op_type for n in graph.node} & QUANTIZERS
    if quantizers:
        raise SystemExit(f"error: {path} is quantized ({', '.join(sorted(quantizers))}); expected an export in floats")
    convs = convolutions(graph)
    if not convs:
        raise SystemExit(f"error: {path} has no convolutions with stored weights")
    if not samples:
        raise SystemExit(f"error: {path} has its batch normalizations folded: give --data or --pictures to measure them anew")
    size = tuple(d.dim_value for d in graph.input[0].type.tensor_type.shape.dim[2:])
    if len(size) != 2 or any(s <= 0 or s % 32 for s in size):
        raise SystemExit(f"error: {path} has an input of {list(size)}; expected a height and a width, multiples of 32")
    activation = activation_of(graph)
    if not all(NAMED.match(c.name) for c in convs):
        _unnamed(convs, activation, size)
    state = state_of(convs)
    if f"{HEAD}.m.0.weight" in state:
        heads = [next(c for c in convs if c.name == f"{HEAD}.m.{k}") for k in range(3)]
        pixels = torch.tensor(anchors_of(model, heads, size)).view(3, 3, 2)
        state[f"{HEAD}.anchors"] = pixels / torch.tensor([8.0, 16.0, 32.0]).view(3, 1, 1)
    made = original.network(state, activation)
    check(made, model, size)
    renormalize(made, samples, height, width)
    return made, original.Found(state, activation, names_of(model))
