"""ncnn's text and weight files, in float32 and with int8 convolutions as its tool `ncnn2int8` makes them."""

import numpy

FLOAT, INT8 = 0, 0x000D4B38  # Tags in front of weights.


def write(graph, stem, ranges=None):
    """Writes `stem`.param and `stem`.bin; convolutions are int8 where ranges of values are given."""
    layers, blobs = [], {graph.input.name}
    readers = {}
    for _, _, inputs, _ in graph.operations:
        for x in inputs:
            readers[x.name] = readers.get(x.name, 0) + 1
    taken = {}

    def read(x):
        # A blob has one reader: further ones get copies by reference from a Split layer.
        if readers[x.name] == 1:
            return x.name
        taken[x.name] = taken.get(x.name, -1) + 1
        return f"{x.name}_split{taken[x.name]}"

    def layer(kind, name, inputs, outputs, parameters=""):
        blobs.update(outputs)
        fields = [f"{kind:<16}", f"{name:<24}", str(len(inputs)), str(len(outputs)), *inputs, *outputs]
        layers.append(" ".join(fields + [parameters]).rstrip())

    def split(x):
        count = readers.get(x.name, 0)
        if count > 1:
            layer("Split", f"split_{x.name}", [x.name], [f"{x.name}_split{copy}" for copy in range(count)])

    layer("Input", graph.input.name, [], [graph.input.name])
    split(graph.input)
    with open(f"{stem}.bin", "wb") as weights_file:
        for kind, y, inputs, attributes in graph.operations:
            names = [read(x) for x in inputs]
            parameters = ""
            if kind == "conv":
                parameters = conv_parameters(y, attributes, ranges is not None)
                conv_weights(weights_file, attributes, ranges and ranges[inputs[0].name])
            if kind == "split":
                sizes = ",".join(str(part.channels) for part in y)
                layer("Slice", f"slice_{names[0]}", names, [part.name for part in y], f"-23300={len(y)},{sizes} 1=0")
                for part in y:
                    split(part)
                continue
            kinds = {"conv": ("Convolution" if attributes.get("groups", 1) == 1 else "ConvolutionDepthWise", parameters),
                     "silu": ("Swish", ""), "concat": ("Concat", "0=0"), "add": ("BinaryOp", "0=0"),
                     "upsample": ("Interp", "0=1 1=2.0 2=2.0"),
                     "pool": ("Pooling", "0=0 1={0} 2=1 3={1} 5=1".format(attributes.get("kernel"),
                                                                         attributes.get("kernel", 1) // 2))}
            name, parameters = kinds[kind]
            layer(name, y.name, names, [y.name], parameters)
            split(y)
    with open(f"{stem}.param", "w", encoding="ascii") as file:
        file.write("\n".join(["7767517", f"{len(layers)} {len(blobs)}", *layers]) + "\n")


def conv_parameters(y, attributes, int8):
    kernel, stride, padding = (attributes[key] for key in ("kernel", "stride", "padding"))
    text = f"0={y.channels} 1={kernel} 3={stride} 4={padding} 5=1 6={attributes['weights'].size}"
    if attributes["groups"] == 1:
        return text + (" 8=2" if int8 else "")
    # A depthwise convolution has a scale for each group.
    return text + f" 7={attributes['groups']}" + (" 8=1" if int8 else "")


def conv_weights(file, attributes, input_range):
    weights, bias = attributes["weights"], attributes["bias"]
    if input_range is None:
        file.write(numpy.uint32(FLOAT).tobytes() + weights.tobytes() + bias.tobytes())
        return
    scales = 127 / numpy.abs(weights).reshape(len(bias), -1).max(1)
    codes = numpy.rint(weights * scales.reshape(-1, 1, 1, 1)).astype("int8").tobytes()
    padding = bytes(-len(codes) % 4)
    input_scale = numpy.float32(127 / max(abs(input_range[0]), abs(input_range[1])))
    file.write(numpy.uint32(INT8).tobytes() + codes + padding + bias.tobytes())
    file.write(scales.astype("float32").tobytes() + input_scale.tobytes())
