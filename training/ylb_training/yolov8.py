"""YOLOv8 by its published plan: C2f blocks, SPPF, and a head without anchors whose boxes are distributions of distances.

The distances from a cell's centre to the four edges of a box are means of distributions over whole strides (Li et al. 2020,
"Generalized Focal Loss", arXiv:2006.04388). There is no objectness.
"""

import math

import torch
from torch import Tensor, nn

from .aligned import AlignedLoss
from .blocks import SPPF, Bottleneck, ConvBlock, QuantizerSlot
from .network import STEM, Detector

SIZES = {"n": (0.33, 0.25, 1024), "s": (0.33, 0.50, 1024), "m": (0.67, 0.75, 768), "l": (1.0, 1.0, 512),
         "x": (1.0, 1.25, 512)}
"""Depth and width multiples, and the most channels before the latter."""

HEAD = "model.22"
"""Name of the head."""


class C2f(nn.Module):
    """A 1x1 convolution in two halves, a chain of bottlenecks behind the second, all of it concatenated, a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int, *, shortcut: bool = False,
                 activation: str = "relu", slot: nn.Module | None = None):
        super().__init__()
        self.hidden = out_channels // 2
        joined = QuantizerSlot()  # one grid for all that is concatenated
        self.cv1 = ConvBlock(in_channels, 2 * self.hidden, 1, activation=activation, slot=joined)
        self.cv2 = ConvBlock((2 + repeats) * self.hidden, out_channels, 1, activation=activation, slot=slot)
        self.m = nn.ModuleList(Bottleneck(self.hidden, shortcut=shortcut, activation=activation, slot=joined, kernel=3)
                               for _ in range(repeats))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).split((self.hidden, self.hidden), 1))
        for block in self.m:
            parts.append(block(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class DistanceDetect(nn.Module):
    """For each level two branches of three convolutions: boxes (four distributions of `BINS` logits) and classes.

    `forward` gives raw heads [batch, 4 * BINS + classes, rows, columns].
    """

    STRIDES = (8, 16, 32)
    BINS = 16

    def __init__(self, classes: int, channels: list[int], activation: str = "relu"):
        super().__init__()
        self.classes = classes
        self.outputs = 4 * self.BINS + classes
        boxes = max(16, channels[0] // 4, 4 * self.BINS)
        labels = max(channels[0], min(classes, 100))
        self.cv2 = nn.ModuleList(self._branch(c, boxes, 4 * self.BINS, activation) for c in channels)
        self.cv3 = nn.ModuleList(self._branch(c, labels, classes, activation) for c in channels)
        self.register_buffer("bins", torch.arange(self.BINS, dtype=torch.float32).view(1, self.BINS, 1, 1), persistent=False)
        self.places: dict[tuple, tuple[Tensor, Tensor]] = {}
        with torch.no_grad():
            for box, label, stride in zip(self.cv2, self.cv3, self.STRIDES):
                box[-1].bias.fill_(1.0)
                # About five objects in a 640-pixel image.
                label[-1].bias.fill_(math.log(5 / classes / (640 / stride) ** 2))

    @staticmethod
    def _branch(channels: int, hidden: int, outputs: int, activation: str) -> nn.Sequential:
        return nn.Sequential(ConvBlock(channels, hidden, 3, activation=activation),
                             ConvBlock(hidden, hidden, 3, activation=activation), nn.Conv2d(hidden, outputs, 1))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [torch.cat((box(x), label(x)), 1) for box, label, x in zip(self.cv2, self.cv3, features)]

    def distances(self, values: Tensor) -> Tensor:
        """Left, top, right, bottom in strides, [batch, 4, cells], of box logits [batch, 4 * BINS, cells]."""
        batch, _, cells = values.shape
        shares = values.view(batch, 4, self.BINS, cells).transpose(1, 2).softmax(1)
        return nn.functional.conv2d(shares, self.bins.to(values.dtype)).view(batch, 4, cells)

    def decode(self, heads: list[Tensor]) -> Tensor:
        """Columns x, y, width, height (input pixels), class scores: [batch, 4 + classes, cells], as YOLOv8 exports them."""
        flat = torch.cat([head.view(head.shape[0], self.outputs, -1) for head in heads], 2)
        boxes, labels = flat.split((4 * self.BINS, self.classes), 1)
        centres, strides = self.cells(heads)
        near, far = self.distances(boxes).split((2, 2), 1)
        first, last = centres - near, centres + far
        return torch.cat((torch.cat(((first + last) / 2, last - first), 1) * strides, labels.sigmoid()), 1)

    def rows(self, heads: list[Tensor]) -> Tensor:
        """Rows x, y, width, height, objectness (1), class scores: [batch, cells, 5 + classes]."""
        found = self.decode(heads).transpose(1, 2)
        return torch.cat((found[..., :4], torch.ones_like(found[..., :1]), found[..., 4:]), 2)

    def cells(self, heads: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Centres of all cells in strides [1, 2, cells], and strides [1, cells]; kept, so that an export has constants."""
        sizes = tuple((int(head.shape[2]), int(head.shape[3])) for head in heads)
        key = (sizes, heads[0].device)
        if key not in self.places:
            centres, strides = [], []
            for (rows, columns), stride in zip(sizes, self.STRIDES):
                y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
                centres.append(torch.stack((x, y)).reshape(2, -1) + 0.5)
                strides.append(torch.full((rows * columns,), float(stride)))
            self.places[key] = (torch.cat(centres, 1)[None].to(key[1]), torch.cat(strides)[None].to(key[1]))
        return self.places[key]


class Network8(Detector):
    """YOLOv8 detector.

    Args:
        classes: number of classes.
        size: one of n, s, m, l, x.
        activation: relu, silu as published, or leaky.
    """

    EDGES = (f"{STEM}.conv", f"{HEAD}.cv[23].?.2")

    def __init__(self, classes: int, size: str = "n", activation: str = "relu"):
        super().__init__()
        self.settings = {"family": "v8", "classes": classes, "size": size, "activation": activation}
        depth, width, most = SIZES[size]

        def c(channels: int) -> int:
            return math.ceil(min(channels, most) * width / 8) * 8

        def n(repeats: int) -> int:
            return max(round(repeats * depth), 1)

        # As in YOLOv5: what meets in a concatenation of the neck is on one grid, one for stride 8 and one for stride 16.
        fine, coarse = QuantizerSlot(), QuantizerSlot()
        a = {"activation": activation}
        self.model = nn.ModuleList([
            ConvBlock(3, c(64), 3, 2, **a),
            ConvBlock(c(64), c(128), 3, 2, **a),
            C2f(c(128), c(128), n(3), shortcut=True, **a),
            ConvBlock(c(128), c(256), 3, 2, **a),
            C2f(c(256), c(256), n(6), shortcut=True, slot=fine, **a),
            ConvBlock(c(256), c(512), 3, 2, **a),
            C2f(c(512), c(512), n(6), shortcut=True, slot=coarse, **a),
            ConvBlock(c(512), c(1024), 3, 2, **a),
            C2f(c(1024), c(1024), n(3), shortcut=True, **a),
            self._pyramid(c(1024), coarse, activation),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Identity(),  # 11: concatenation with layer 6
            C2f(c(1024) + c(512), c(512), n(3), slot=fine, **a),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Identity(),  # 14: concatenation with layer 4
            C2f(c(512) + c(256), c(256), n(3), **a),
            ConvBlock(c(256), c(256), 3, 2, slot=fine, **a),
            nn.Identity(),  # 17: concatenation with layer 12
            C2f(c(256) + c(512), c(512), n(3), **a),
            ConvBlock(c(512), c(512), 3, 2, slot=coarse, **a),
            nn.Identity(),  # 20: concatenation with layer 9
            C2f(c(512) + c(1024), c(1024), n(3), **a),
            DistanceDetect(classes, [c(256), c(512), c(1024)], activation),
        ])
        self.input_quantizer = QuantizerSlot()

    @staticmethod
    def _pyramid(channels: int, slot: nn.Module, activation: str) -> SPPF:
        block = SPPF(channels, channels, activation=activation)
        block.cv2.quantizer = slot
        return block

    def loss(self, pixels: int, classes: float) -> AlignedLoss:
        return AlignedLoss(self.detect, classes=classes)

    def features(self, x: Tensor) -> list[Tensor]:
        """The three tensors that enter the head, strides 8, 16 and 32."""
        m = self.model
        x = self.input_quantizer(x)
        for layer in m[:5]:
            x = layer(x)
        p3 = x
        p4 = m[6](m[5](p3))
        top = m[9](m[8](m[7](p4)))
        middle = m[12](torch.cat((m[10](top), p4), 1))
        out3 = m[15](torch.cat((m[13](middle), p3), 1))
        out4 = m[18](torch.cat((m[16](out3), middle), 1))
        return [out3, out4, m[21](torch.cat((m[19](out4), top), 1))]
