"""ONNX files: in float32, and quantized by ONNX Runtime's own tool to int8 weights and uint8 activations."""

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from network import random_image


def write_float(graph, path):
    """Writes the graph in float32."""
    nodes, constants = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(array, name))
        return name

    scales = constant("scales", numpy.array([1, 1, 2, 2], "float32"))
    for kind, output, inputs, attributes in graph.operations:
        names = [x.name for x in inputs]
        if kind == "split":
            sizes = constant(f"{names[0]}_sizes", numpy.array([part.channels for part in output], "int64"))
            nodes.append(helper.make_node("Split", [names[0], sizes], [part.name for part in output], axis=1))
            continue
        y = output.name
        if kind == "conv":
            names.append(constant(f"{y}_w", attributes["weights"]))
            names.append(constant(f"{y}_b", attributes["bias"]))
            kernel, stride, padding = (attributes[key] for key in ("kernel", "stride", "padding"))
            nodes.append(helper.make_node("Conv", names, [y], y, kernel_shape=[kernel] * 2,
                                          strides=[stride] * 2, pads=[padding] * 4,
                                          group=attributes["groups"]))
        elif kind == "silu":
            nodes.append(helper.make_node("Sigmoid", names, [f"{y}_sigmoid"], f"{y}_sigmoid"))
            nodes.append(helper.make_node("Mul", [names[0], f"{y}_sigmoid"], [y], y))
        elif kind == "concat":
            nodes.append(helper.make_node("Concat", names, [y], y, axis=1))
        elif kind == "add":
            nodes.append(helper.make_node("Add", names, [y], y))
        elif kind == "pool":
            kernel = attributes["kernel"]
            nodes.append(helper.make_node("MaxPool", names, [y], y, kernel_shape=[kernel] * 2,
                                          strides=[1, 1], pads=[kernel // 2] * 4))
        elif kind == "upsample":
            nodes.append(helper.make_node("Resize", [names[0], "", scales], [y], y, mode="nearest",
                                          coordinate_transformation_mode="asymmetric",
                                          nearest_mode="floor"))
        else:
            raise ValueError(kind)
    value = lambda x: helper.make_tensor_value_info(
        x.name, TensorProto.FLOAT, [1, x.channels, x.side, x.side])
    body = helper.make_graph(nodes, graph.name, [value(graph.input)], [value(y) for y in graph.outputs],
                             initializer=constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


class OnePicture(CalibrationDataReader):
    """Ranges do not matter for speed: one random picture gives them."""

    def __init__(self, side):
        self.pictures = iter([{"images": random_image(side)}])

    def get_next(self):
        return next(self.pictures, None)


def write_int8(float_path, path, side):
    """Writes the QDQ form that ONNX Runtime's tool makes of the float file."""
    quantize_static(float_path, path, OnePicture(side), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def ranges(float_path, side):
    """Name of each value -> least and largest element, for a random picture."""
    model = onnx.load(float_path)
    del model.graph.output[:]
    names = [name for node in model.graph.node for name in node.output]
    for name in names:
        model.graph.output.append(helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run(names, {"images": random_image(side)})
    found = {name: (float(value.min()), float(value.max())) for name, value in zip(names, values)}
    return found | {"images": (0.0, 1.0)}
