"""LiteRT's int8 form, written field by field: what its converter makes of a calibrated float graph.

Sizes are even, so a stride of 2 with TensorFlow's SAME padding takes the 6x6 window as it is, and shifts
the 3x3 windows by one pixel: the same work, without the extra padding operator that half
padding would take.
"""

import flatbuffers
import numpy
from ai_edge_litert import schema_py_generated as schema

ACTIVATION_NONE, PADDING_SAME = 0, 0
OPERATORS = schema.BuiltinOperator
# The first versions that take int8.
VERSIONS = {OPERATORS.CONV_2D: 3, OPERATORS.DEPTHWISE_CONV_2D: 3, OPERATORS.SPLIT: 2, OPERATORS.CONCATENATION: 2, OPERATORS.ADD: 2, OPERATORS.MUL: 2,
            OPERATORS.LOGISTIC: 2, OPERATORS.MAX_POOL_2D: 2, OPERATORS.RESIZE_NEAREST_NEIGHBOR: 2}


class Writer:
    def __init__(self, ranges):
        self.ranges = ranges
        self.buffers = [schema.BufferT()]
        self.tensors, self.numbers, self.operators, self.codes = [], {}, [], []

    def buffer(self, array):
        buffer = schema.BufferT()
        buffer.data = numpy.frombuffer(array.tobytes(), "uint8")
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def tensor(self, name, shape, kind, scales=None, zero=0, array=None, axis=0):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), kind
        tensor.buffer = 0 if array is None else self.buffer(array)
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [float(scale) for scale in scales]
            tensor.quantization.zeroPoint = [zero] * len(scales)
            tensor.quantization.quantizedDimension = axis
        self.tensors.append(tensor)
        self.numbers[name] = len(self.tensors) - 1
        return self.numbers[name]

    def grid(self, name):
        """Scale and zero point of a value."""
        low, high = self.ranges[name]
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255 or 1.0
        return scale, int(round(-128 - low / scale))

    def value(self, x):
        scale, zero = self.grid(x.name)
        shape = (1, x.side, x.side, x.channels)
        return self.tensor(x.name, shape, schema.TensorType.INT8, [scale], zero)

    def operator(self, code, inputs, outputs, options=None, options_type=0):
        if code not in self.codes:
            self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.index(code)
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptions, operator.builtinOptionsType = options, options_type
        self.operators.append(operator)

    def conv(self, x, y, attributes):
        weights, bias = attributes["weights"], attributes["bias"]
        scales = numpy.abs(weights).reshape(len(bias), -1).max(1) / 127
        codes = numpy.rint(weights / scales.reshape(-1, 1, 1, 1)).astype("int8")
        each = attributes["groups"] > 1
        # Of a depthwise convolution channels come last.
        codes = codes.transpose(1, 2, 3, 0) if each else codes.transpose(0, 2, 3, 1)
        weights = self.tensor(f"{y.name}_w", codes.shape, schema.TensorType.INT8, scales, array=codes,
                              axis=3 if each else 0)
        scales = scales * self.grid(x.name)[0]
        bias = numpy.rint(bias / scales).astype("int32")
        bias = self.tensor(f"{y.name}_b", bias.shape, schema.TensorType.INT32, scales, array=bias)
        options = schema.DepthwiseConv2DOptionsT() if each else schema.Conv2DOptionsT()
        if each:
            options.depthMultiplier = 1
        options.padding, options.fusedActivationFunction = PADDING_SAME, ACTIVATION_NONE
        options.strideH = options.strideW = attributes["stride"]
        options.dilationHFactor = options.dilationWFactor = 1
        inputs = [self.numbers[x.name], weights, bias]
        kinds = schema.BuiltinOptions
        code, kind = ((OPERATORS.DEPTHWISE_CONV_2D, kinds.DepthwiseConv2DOptions) if each
                      else (OPERATORS.CONV_2D, kinds.Conv2DOptions))
        self.operator(code, inputs, [self.value(y)], options, kind)

    def split(self, x, parts):
        axis = self.tensor(f"{x.name}_axis", [], schema.TensorType.INT32, array=numpy.array(3, "int32"))
        options = schema.SplitOptionsT()
        options.numSplits = len(parts)
        self.operator(OPERATORS.SPLIT, [axis, self.numbers[x.name]], [self.value(part) for part in parts], options,
                      schema.BuiltinOptions.SplitOptions)

    def silu(self, x, y):
        x = self.numbers[x.name]
        shape = (1, y.side, y.side, y.channels)
        # The grid that LiteRT prescribes for a sigmoid.
        sigmoid = self.tensor(f"{y.name}_sigmoid", shape, schema.TensorType.INT8, [1 / 256], -128)
        self.operator(OPERATORS.LOGISTIC, [x], [sigmoid])
        self.operator(OPERATORS.MUL, [x, sigmoid], [self.value(y)], schema.MulOptionsT(),
                      schema.BuiltinOptions.MulOptions)

    def other(self, kind, inputs, y, attributes):
        names = [self.numbers[x.name] for x in inputs]
        if kind == "concat":
            options = schema.ConcatenationOptionsT()
            options.axis = 3
            code, options_type = OPERATORS.CONCATENATION, schema.BuiltinOptions.ConcatenationOptions
        elif kind == "add":
            options = schema.AddOptionsT()
            code, options_type = OPERATORS.ADD, schema.BuiltinOptions.AddOptions
        elif kind == "upsample":
            options = schema.ResizeNearestNeighborOptionsT()
            code = OPERATORS.RESIZE_NEAREST_NEIGHBOR
            options_type = schema.BuiltinOptions.ResizeNearestNeighborOptions
            size = numpy.array([y.side, y.side], "int32")
            names.append(self.tensor(f"{y.name}_size", [2], schema.TensorType.INT32, array=size))
        else:
            options = schema.Pool2DOptionsT()
            options.padding, options.strideH, options.strideW = PADDING_SAME, 1, 1
            options.filterHeight = options.filterWidth = attributes["kernel"]
            code, options_type = OPERATORS.MAX_POOL_2D, schema.BuiltinOptions.Pool2DOptions
        self.operator(code, names, [self.value(y)], options, options_type)

    def model(self, graph):
        subgraph = schema.SubGraphT()
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs = [self.numbers[graph.input.name]]
        subgraph.outputs = [self.numbers[y.name] for y in graph.outputs]
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [subgraph], self.buffers
        model.operatorCodes = []
        for code in self.codes:
            operator_code = schema.OperatorCodeT()
            operator_code.builtinCode = operator_code.deprecatedBuiltinCode = code
            operator_code.version = VERSIONS[code]
            model.operatorCodes.append(operator_code)
        return model


def write(graph, path, ranges):
    """Writes the graph in int8, each value on the grid that its range gives."""
    writer = Writer(joined(graph, ranges))
    writer.value(graph.input)
    for kind, y, inputs, attributes in graph.operations:
        if kind == "conv":
            writer.conv(inputs[0], y, attributes)
        elif kind == "silu":
            writer.silu(inputs[0], y)
        elif kind == "split":
            writer.split(inputs[0], y)
        else:
            writer.other(kind, inputs, y, attributes)
    builder = flatbuffers.Builder(1 << 22)
    builder.Finish(writer.model(graph).Pack(builder), b"TFL3")
    with open(path, "wb") as file:
        file.write(builder.Output())


def joined(graph, ranges):
    """Ranges such that operators that only move int8 values find one grid on all sides."""
    parent = {name: name for name in ranges}

    def root(name):
        while parent[name] != name:
            name = parent[name]
        return name

    for kind, y, inputs, _ in graph.operations:
        if kind in ("concat", "pool", "upsample", "split"):
            for x in inputs:
                for part in y if kind == "split" else [y]:
                    parent[root(x.name)] = root(part.name)
    united = {}
    for name, (low, high) in ranges.items():
        least, largest = united.get(root(name), (low, high))
        united[root(name)] = (min(least, low), max(largest, high))
    return {name: united[root(name)] for name in ranges}
