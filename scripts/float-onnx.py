#!/usr/bin/env python3
"""Writes the float detector of a checkpoint of training/ as ONNX, as YOLOv5's export.py writes one: batch normalizations folded into
the convolutions, SiLU as Sigmoid and Mul, boxes decoded. Needs onnx and numpy, not PyTorch; made models/cells-float.onnx.

    python3 scripts/float-onnx.py best.pt -o models/cells-float.onnx --half
"""

import argparse
import collections
import json
import math
import pickle
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EPSILON = 1e-3
"""Of the batch normalizations of training/."""
STRIDES = (8, 16, 32)


class Reader(pickle.Unpickler):
    """Reads tensors and plain data of a checkpoint, and nothing else: other classes are refused."""

    def __init__(self, archive: zipfile.ZipFile):
        self.archive, self.root = archive, archive.namelist()[0].split("/")[0]
        super().__init__(archive.open(f"{self.root}/data.pkl"))

    def find_class(self, module: str, name: str):
        known = {("collections", "OrderedDict"): collections.OrderedDict, ("torch._utils", "_rebuild_tensor_v2"): self.tensor}
        if module == "torch" and name.endswith("Storage"):
            return name
        if (module, name) not in known:
            raise SystemExit(f"error: the checkpoint holds a {module}.{name}")
        return known[module, name]

    def persistent_load(self, identity: tuple):
        _, kind, key, _, _ = identity
        types = {"FloatStorage": "<f4", "LongStorage": "<i8", "HalfStorage": "<f2"}
        return np.frombuffer(self.archive.read(f"{self.root}/data/{key}"), types[kind])

    @staticmethod
    def tensor(storage, offset, shape, stride, *_):
        strides = [s * storage.itemsize for s in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides).copy()


class Writer:
    """Builds the graph node by node."""

    def __init__(self, state: dict, activation: str, half: bool):
        self.state, self.activation = state, activation
        self.type = np.float16 if half else np.float32
        self.nodes, self.initializers = [], []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op_type: str, inputs: list[str], name: str, outputs: int = 1, **attributes):
        outputs = [f"{name}_output_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, outputs, name, **attributes))
        return outputs[0] if len(outputs) == 1 else outputs

    def conv(self, x: str, name: str, stride: int = 1) -> str:
        """A convolution, with the normalization folded into it, and its activation."""
        part = lambda key: self.state[f"{name}.{key}"].astype(np.float64)
        weight = part("conv.weight")
        factor = part("bn.weight") / np.sqrt(part("bn.running_var") + EPSILON)
        bias = part("bn.bias") - part("bn.running_mean") * factor
        kernel = weight.shape[2]
        weight = self.constant(f"{name}.conv.weight", (weight * factor[:, None, None, None]).astype(self.type))
        bias = self.constant(f"{name}.conv.bias", bias.astype(self.type))
        padding = 2 if kernel == 6 else kernel // 2
        y = self.node("Conv", [x, weight, bias], f"/{name}/conv/Conv", dilations=[1, 1], group=1,
                      kernel_shape=[kernel, kernel], pads=[padding] * 4, strides=[stride, stride])
        if self.activation == "relu":
            return self.node("Relu", [y], f"/{name}/act/Relu")
        return self.node("Mul", [y, self.node("Sigmoid", [y], f"/{name}/act/Sigmoid")], f"/{name}/act/Mul")

    def c3(self, x: str, name: str, shortcut: bool = True) -> str:
        y, index = self.conv(x, f"{name}.cv1"), 0
        while f"{name}.m.{index}.cv1.conv.weight" in self.state:
            inner = self.conv(self.conv(y, f"{name}.m.{index}.cv1"), f"{name}.m.{index}.cv2")
            y = self.node("Add", [y, inner], f"/{name}/m.{index}/Add") if shortcut else inner
            index += 1
        return self.conv(self.concat([y, self.conv(x, f"{name}.cv2")], name), f"{name}.cv3")

    def concat(self, inputs: list[str], name: str, axis: int = 1) -> str:
        return self.node("Concat", inputs, f"/{name}/Concat", axis=axis)

    def sppf(self, x: str, name: str) -> str:
        levels = [self.conv(x, f"{name}.cv1")]
        for k in range(3):
            levels.append(self.node("MaxPool", [levels[-1]], f"/{name}/m_{k}/MaxPool", kernel_shape=[5, 5],
                                    pads=[2] * 4, strides=[1, 1]))
        return self.conv(self.concat(levels, name), f"{name}.cv2")

    def upsample(self, x: str, name: str) -> str:
        scales = self.constant(f"{name}.scales", np.array([1, 1, 2, 2], np.float32))
        return self.node("Resize", [x, "", scales], f"/{name}/Resize", mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric")

    def features(self, x: str) -> list[str]:
        x = self.conv(self.conv(x, "model.0", 2), "model.1", 2)
        p3 = self.c3(self.conv(self.c3(x, "model.2"), "model.3", 2), "model.4")
        p4 = self.c3(self.conv(p3, "model.5", 2), "model.6")
        top = self.conv(self.sppf(self.c3(self.conv(p4, "model.7", 2), "model.8"), "model.9"), "model.10")
        middle = self.c3(self.concat([self.upsample(top, "model.11"), p4], "model.12"), "model.13", False)
        middle = self.conv(middle, "model.14")
        fine = self.c3(self.concat([self.upsample(middle, "model.15"), p3], "model.16"), "model.17", False)
        coarse = self.c3(self.concat([self.conv(fine, "model.18", 2), middle], "model.19"), "model.20", False)
        last = self.c3(self.concat([self.conv(coarse, "model.21", 2), top], "model.22"), "model.23", False)
        return [fine, coarse, last]

    def head(self, x: str, level: int, size: tuple[int, int], anchors: np.ndarray, classes: int) -> str:
        """A raw head, decoded: rows of box, objectness and classes."""
        name, count, fields = f"model.24/m.{level}", len(anchors), classes + 5
        rows, columns = (extent // STRIDES[level] for extent in size)
        weight = self.constant(f"model.24.m.{level}.weight", self.state[f"model.24.m.{level}.weight"].astype(self.type))
        bias = self.constant(f"model.24.m.{level}.bias", self.state[f"model.24.m.{level}.bias"].astype(self.type))
        y = self.node("Conv", [x, weight, bias], f"/{name}/Conv", dilations=[1, 1], group=1, kernel_shape=[1, 1],
                      pads=[0] * 4, strides=[1, 1])
        if self.type == np.float16:  # cells of large grids have no half floats
            y = self.node("Cast", [y], f"/{name}/Cast", to=TensorProto.FLOAT)
        shape = self.constant(f"{name}.shape", np.array([1, count, fields, rows, columns], np.int64))
        y = self.node("Reshape", [y, shape], f"/{name}/Reshape")
        y = self.node("Sigmoid", [self.node("Transpose", [y], f"/{name}/Transpose", perm=[0, 1, 3, 4, 2])],
                      f"/{name}/Sigmoid")
        split = self.constant(f"{name}.split", np.array([2, 2, classes + 1], np.int64))
        xy, wh, rest = self.node("Split", [y, split], f"/{name}/Split", outputs=3, axis=4)
        j, i = np.meshgrid(np.arange(columns), np.arange(rows))
        grid = np.broadcast_to(np.stack([j, i], -1) - 0.5, (1, count, rows, columns, 2)).astype(np.float32)
        number = lambda key, value: self.constant(f"{name}.{key}", np.array(value, np.float32))
        two = number("two", 2)
        xy = self.node("Add", [self.node("Mul", [xy, two], f"/{name}/Mul"), self.constant(f"{name}.grid", grid)],
                       f"/{name}/Add")
        xy = self.node("Mul", [xy, number("stride", STRIDES[level])], f"/{name}/Mul_1")
        wh = self.node("Pow", [self.node("Mul", [wh, two], f"/{name}/Mul_2"), two], f"/{name}/Pow")
        sizes = self.constant(f"{name}.anchors", anchors.reshape(1, count, 1, 1, 2).astype(np.float32))
        wh = self.node("Mul", [wh, sizes], f"/{name}/Mul_3")
        boxes = self.concat([xy, wh, rest], name, 4)
        flat = self.constant(f"{name}.rows", np.array([1, count * rows * columns, fields], np.int64))
        return self.node("Reshape", [boxes, flat], f"/{name}/Reshape_1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--half", action="store_true", help="16-bit floats up to the heads")
    parser.add_argument("--imgsz", type=int, nargs=2, help="height and width [default: those of the training]")
    args = parser.parse_args()
    saved = Reader(zipfile.ZipFile(args.checkpoint)).load()
    settings, size = saved["settings"], tuple(args.imgsz or saved["input"])
    if settings.get("family", "v5") != "v5":
        raise SystemExit("error: the checkpoint is no YOLOv5; 'export --form float' of training/ writes it")
    if saved.get("widths"):
        raise SystemExit("error: the checkpoint is quantized; the command 'export' of training/ writes it")
    anchors = np.array(settings["anchors"]).reshape(3, 3, 2)
    writer = Writer(saved["state"], settings["activation"], args.half)
    x = "images"
    if args.half:
        x = writer.node("Cast", [x], "/Cast", to=TensorProto.FLOAT16)
    features = writer.features(x)
    levels = [writer.head(f, k, size, anchors[k], settings["classes"]) for k, f in enumerate(features)]
    output = writer.concat(levels, "model.24")
    writer.nodes[-1].output[0] = "output0"
    boxes = sum(3 * math.prod(extent // stride for extent in size) for stride in STRIDES)
    graph = helper.make_graph(
        writer.nodes, "main_graph", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *size])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, boxes, settings["classes"] + 5])],
        writer.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
                              producer_name="yolo-lowbit training")
    helper.set_model_props(model, {"names": json.dumps(dict(enumerate(saved["names"]))), "stride": "32"})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, args.output)


if __name__ == "__main__":
    main()
