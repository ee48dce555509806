"""Networks of YOLOv5's shape (release 7.0: SiLU, 80 classes) with random weights, up to the raw outputs
of the three heads: what `yolo-lowbit bench --net` runs, in floating point.

The decoding of boxes is left out everywhere. In one int8 tensor with the boxes every score would be
rounded to zero, so an int8 graph that is of any use ends here, too.
"""

import numpy

# Depth and width multiples in twelfths.
MULTIPLES = {"n": (4, 3), "s": (4, 6), "m": (8, 9), "l": (12, 12), "x": (16, 15)}
HEAD_CHANNELS = 3 * (5 + 80)


class Tensor:
    """A value of the graph: its name, channels and side (it is square)."""

    def __init__(self, name, channels, side):
        self.name, self.channels, self.side = name, channels, side


class Graph:
    """A list of operations `(kind, output, inputs, attributes)` in order."""

    def __init__(self, size, side, seed=1):
        self.random = numpy.random.default_rng(seed)
        self.operations = []
        self.input = Tensor("images", 3, side)
        self.outputs = []
        self._build(*MULTIPLES[size])

    def _add(self, kind, name, inputs, channels, side, **attributes):
        output = Tensor(name, channels, side)
        self.operations.append((kind, output, inputs, attributes))
        return output

    def conv(self, name, x, outputs, kernel=1, stride=1, activation=True):
        """A convolution with half padding, then SiLU."""
        fan_in = x.channels * kernel * kernel
        weights = self.random.normal(0, 1.7 / fan_in**0.5, (outputs, x.channels, kernel, kernel))
        bias = self.random.normal(0, 0.1, outputs)
        padding = (kernel - 1) // 2
        attributes = {"weights": weights.astype("float32"), "bias": bias.astype("float32")}
        attributes |= {"kernel": kernel, "stride": stride, "padding": padding}
        y = self._add("conv", name, [x], outputs, x.side // stride, **attributes)
        return self._add("silu", f"{name}_silu", [y], outputs, y.side) if activation else y

    def _c3(self, name, x, outputs, repeats, shortcut):
        hidden = outputs // 2
        y = self.conv(f"{name}_cv1", x, hidden)
        for repeat in range(repeats):
            z = self.conv(f"{name}_m{repeat}_cv1", y, hidden)
            z = self.conv(f"{name}_m{repeat}_cv2", z, hidden, 3)
            y = self._add("add", f"{name}_m{repeat}_add", [y, z], hidden, y.side) if shortcut else z
        bypass = self.conv(f"{name}_cv2", x, hidden)
        return self.conv(f"{name}_cv3", self._concat(f"{name}_cat", [y, bypass]), outputs)

    def _concat(self, name, inputs):
        return self._add("concat", name, inputs, sum(x.channels for x in inputs), inputs[0].side)

    def _upsample(self, name, x):
        return self._add("upsample", name, [x], x.channels, 2 * x.side)

    def _sppf(self, name, x, outputs):
        parts = [self.conv(f"{name}_cv1", x, x.channels // 2)]
        for pool in range(3):
            last = parts[-1]
            parts.append(self._add("pool", f"{name}_pool{pool}", [last], last.channels, last.side))
        return self.conv(f"{name}_cv2", self._concat(f"{name}_cat", parts), outputs)

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
        x = self._sppf("l9", x, channels(1024))
        top = self.conv("l10", x, channels(512))
        x = self._concat("l12", [self._upsample("l11", top), p4])
        x = self._c3("l13", x, channels(512), repeats(3), False)
        middle = self.conv("l14", x, channels(256))
        x = self._concat("l16", [self._upsample("l15", middle), p3])
        small = self._c3("l17", x, channels(256), repeats(3), False)
        x = self._concat("l19", [self.conv("l18", small, channels(256), 3, 2), middle])
        medium = self._c3("l20", x, channels(512), repeats(3), False)
        x = self._concat("l22", [self.conv("l21", medium, channels(512), 3, 2), top])
        large = self._c3("l23", x, channels(1024), repeats(3), False)
        for level, x in enumerate([small, medium, large]):
            self.outputs.append(self.conv(f"head{level}", x, HEAD_CHANNELS, activation=False))

    def macs(self):
        """Multiply-accumulate operations of one inference."""
        convs = (operation for operation in self.operations if operation[0] == "conv")
        return sum(attributes["weights"].size * y.side**2 for _, y, _, attributes in convs)


def random_image(side, seed=0):
    """Random pixels from 0 to 1, `[1, 3, side, side]`."""
    pixels = numpy.random.default_rng(seed).integers(0, 256, (1, 3, side, side))
    return (pixels / 255).astype("float32")
