"""YOLOv3-tiny: a chain of convolutions and poolings, two levels, boxes by exponentials (Redmon, Farhadi 2018).

Layer numbers are those of the published plan, pooling and padding counted, so that its parameters are found by name.
"""

import math

import torch
from torch import Tensor, nn

from .blocks import ConvBlock, Detect, QuantizerSlot
from .loss import Loss
from .network import STEM, Detector, initialize

HEAD = "model.20"
"""Name of the head."""
REACH = 4.0
"""In training, boxes are at most e to this power of their anchor: an early outlier would be infinite."""


class ExponentialDetect(Detect):
    """Heads of strides 16 and 32: centres by a sigmoid within their cell, sides by an exponential of the anchor's."""

    STRIDES = (16, 32)

    def decode(self, heads: list[Tensor]) -> Tensor:
        """Rows x, y, width, height (input pixels), objectness, class scores: [batch, boxes, 5 + classes]."""
        levels = []
        for level, head in enumerate(heads):
            batch, count, rows, columns, _ = head.shape
            grid, size = self._grid(level, rows, columns, head.device)
            xy, wh, rest = head.split((2, 2, self.classes + 1), 4)
            boxes = torch.cat(((xy.sigmoid() + (grid + 0.5)) * self.STRIDES[level], wh.exp() * size, rest.sigmoid()), 4)
            levels.append(boxes.view(batch, count * rows * columns, self.outputs))
        return torch.cat(levels, 1)

    def boxes(self, found: Tensor, sizes: Tensor) -> Tensor:
        return torch.cat((found[:, :2].sigmoid(), found[:, 2:4].clamp(max=REACH).exp() * sizes), 1)

    def shape(self, head: Tensor) -> Tensor:
        return torch.cat((head[..., :2].sigmoid(), head[..., 2:4]), -1)


class Tiny(Detector):
    """YOLOv3-tiny.

    Args:
        classes: number of classes.
        anchors: six (width, height) pairs in input pixels, smallest first.
        width: factor of the channels; 1 is the published network.
        activation: relu, silu, or leaky as published (LeakyReLU of slope 0.1).
    """

    EDGES = (f"{STEM}.conv", f"{HEAD}.*")
    ANCHORS = 6

    def __init__(self, classes: int, anchors: list[tuple[float, float]], width: float = 1.0, activation: str = "relu"):
        super().__init__()
        self.settings = {"family": "v3-tiny", "classes": classes, "anchors": [list(map(float, a)) for a in anchors],
                         "width": width, "activation": activation}

        def c(channels: int) -> int:
            return max(math.ceil(channels * width / 8) * 8, 8)

        joined = QuantizerSlot()  # the one concatenation: layer 8 with what comes from the level above
        a = {"activation": activation}
        layers: list[nn.Module] = []
        before = 3
        for channels in (16, 32, 64, 128, 256):
            slot = joined if channels == 256 else None
            layers += [ConvBlock(before, c(channels), 3, slot=slot, **a), nn.MaxPool2d(2, 2)]
            before = c(channels)
        layers += [
            ConvBlock(c(256), c(512), 3, **a),
            # The window of stride 1 looks one row down and one column right; beyond the edge lies a zero.
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.MaxPool2d(2, 1),
            ConvBlock(c(512), c(1024), 3, **a),
            ConvBlock(c(1024), c(256), 1, **a),
            ConvBlock(c(256), c(512), 3, **a),
            ConvBlock(c(256), c(128), 1, slot=joined, **a),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Identity(),  # 18: concatenation with layer 8
            ConvBlock(c(128) + c(256), c(256), 3, **a),
            ExponentialDetect(classes, [c(256), c(512)], torch.tensor(anchors).view(2, 3, 2)),
        ]
        self.model = nn.ModuleList(layers)
        self.input_quantizer = QuantizerSlot()
        initialize(self.detect)

    def loss(self, pixels: int, classes: float) -> Loss:
        # A centre cannot leave its cell here.
        return Loss(self.detect, pixels, classes=classes, neighbours=False)

    def features(self, x: Tensor) -> list[Tensor]:
        m = self.model
        x = self.input_quantizer(x)
        for layer in m[:9]:
            x = layer(x)
        fine = x
        for layer in m[9:15]:
            x = layer(x)
        return [m[19](torch.cat((m[17](m[16](x)), fine), 1)), m[15](x)]
