"""Detectors of published layers and widths (SiLU, 80 classes) with random weights, up to the raw outputs of their
heads: what `yolo-lowbit bench --net` runs, in floating point. YOLOv5 (release 7.0) stands here, others in
`anchor_free.py`.

The decoding of boxes is left out everywhere. In one int8 tensor with the boxes every score would be
rounded to zero, so an int8 graph that is of any use ends here, too.
"""

import numpy

import anchor_free

# Depth and width multiples in twelfths.
MULTIPLES = {"n": (4, 3), "s": (4, 6), "m": (8, 9), "l": (12, 12), "x": (16, 15)}
HEAD_CHANNELS = 3 * (5 + 80)


class Tensor:
    """A value of the graph: its name, channels and side (it is square)."""

    def __init__(self, name, channels, side):
        self.name, self.channels, self.side = name, channels, side


class Graph:
    """A list of operations `(kind, output, inputs, attributes)` in order; the output of a split is a list."""

    def __init__(self, name, side, seed=1):
        self.random = numpy.random.default_rng(seed)
        self.name = name
        self.operations = []
        self.input = Tensor("images", 3, side)
        self.outputs = []
        if name.startswith("yolov5"):
            self._build(*MULTIPLES[name.removeprefix("yolov5")])
        else:
            anchor_free.BUILDERS[name](self)

    def _add(self, kind, name, inputs, channels, side, **attributes):
        output = Tensor(name, channels, side)
        self.operations.append((kind, output, inputs, attributes))
        return output

    def conv(self, name, x, outputs, kernel=1, stride=1, activation=True, groups=1):
        """A convolution with half padding, then SiLU."""
        fan_in = x.channels // groups * kernel * kernel
        weights = self.random.normal(0, 1.7 / fan_in**0.5, (outputs, x.channels // groups, kernel, kernel))
        bias = self.random.normal(0, 0.1, outputs)
        padding = (kernel - 1) // 2
        attributes = {"weights": weights.astype("float32"), "bias": bias.astype("float32")}
        attributes |= {"kernel": kernel, "stride": stride, "padding": padding, "groups": groups}
        y = self._add("conv", name, [x], outputs, x.side // stride, **attributes)
        return self._add("silu", f"{name}_silu", [y], outputs, y.side) if activation else y

    def head(self, x, outputs):
        """A convolution whose output is one of the network's."""
        self.outputs.append(self.conv(f"head{len(self.outputs)}", x, outputs, activation=False))

    def add(self, name, inputs):
        return self._add("add", name, inputs, inputs[0].channels, inputs[0].side)

    def pool(self, name, x, kernel=5):
        """The largest of each window, in steps of 1."""
        return self._add("pool", name, [x], x.channels, x.side, kernel=kernel)

    def split(self, name, x):
        """Both halves of the channels."""
        halves = [Tensor(f"{name}_{half}", x.channels // 2, x.side) for half in range(2)]
        self.operations.append(("split", halves, [x], {}))
        return halves

    def concat(self, name, inputs):
        return self._add("concat", name, inputs, sum(x.channels for x in inputs), inputs[0].side)

    def upsample(self, name, x):
        return self._add("upsample", name, [x], x.channels, 2 * x.side)

    def sppf(self, name, x, outputs):
        """Three poolings in a row."""
        parts = [self.conv(f"{name}_cv1", x, x.channels // 2)]
        for pool in range(3):
            parts.append(self.pool(f"{name}_pool{pool}", parts[-1]))
        return self.conv(f"{name}_cv2", self.concat(f"{name}_cat", parts), outputs)

    def _c3(self, name, x, outputs, repeats, shortcut):
        hidden = outputs // 2
        y = self.conv(f"{name}_cv1", x, hidden)
        for repeat in range(repeats):
            z = self.conv(f"{name}_m{repeat}_cv1", y, hidden)
            z = self.conv(f"{name}_m{repeat}_cv2", z, hidden, 3)
            y = self.add(f"{name}_m{repeat}_add", [y, z]) if shortcut else z
        bypass = self.conv(f"{name}_cv2", x, hidden)
        return self.conv(f"{name}_cv3", self.concat(f"{name}_cat", [y, bypass]), outputs)

    def _build(self, depth, width):
        channels = lambda count: -(-count * width // 96) * 8
        repeats = lambda count: max((count * depth + 6) // 12, 1)
        # 6x6 with stride 2 and padding 2, as in release 6 and later.
        x = self.conv("l0", self.input, channels(64), 6, 2)
        x = self.conv("l1", x, channels(128), 3, 2)
        x = self._c3("l2", x, channels(128), repeats(3), True)
        x = self.conv("l3", x, channels(256), 3, 2)
        p3 = self._c3("l4", x, channels(256), repeats(6), True)
        x = self.conv("l5", p3, channels(512), 3, 2)
        p4 = self._c3("l6", x, channels(512), repeats(9), True)
        x = self.conv("l7", p4, channels(1024), 3, 2)
        x = self._c3("l8", x, channels(1024), repeats(3), True)
        x = self.sppf("l9", x, channels(1024))
        top = self.conv("l10", x, channels(512))
        x = self.concat("l12", [self.upsample("l11", top), p4])
        x = self._c3("l13", x, channels(512), repeats(3), False)
        middle = self.conv("l14", x, channels(256))
        x = self.concat("l16", [self.upsample("l15", middle), p3])
        small = self._c3("l17", x, channels(256), repeats(3), False)
        x = self.concat("l19", [self.conv("l18", small, channels(256), 3, 2), middle])
        medium = self._c3("l20", x, channels(512), repeats(3), False)
        x = self.concat("l22", [self.conv("l21", medium, channels(512), 3, 2), top])
        large = self._c3("l23", x, channels(1024), repeats(3), False)
        for x in [small, medium, large]:
            self.head(x, HEAD_CHANNELS)

    def macs(self):
        """Multiply-accumulate operations of one inference."""
        convs = (operation for operation in self.operations if operation[0] == "conv")
        return sum(attributes["weights"].size * y.side**2 for _, y, _, attributes in convs)


def random_image(side, seed=0):
    """Random pixels from 0 to 1, `[1, 3, side, side]`."""
    pixels = numpy.random.default_rng(seed).integers(0, 256, (1, 3, side, side))
    return (pixels / 255).astype("float32")
