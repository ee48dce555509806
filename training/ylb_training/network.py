"""The YOLOv5 v7 network in its five sizes, layer numbers as in the original."""

import math

import torch
from torch import Tensor, nn

from .blocks import C3, SPPF, ConvBlock, Detect, QuantizerSlot
from .loss import Loss

SIZES = {"n": (0.33, 0.25), "s": (0.33, 0.50), "m": (0.67, 0.75), "l": (1.0, 1.0), "x": (1.33, 1.25)}
"""Depth and width multiples."""

STEM, HEAD = "model.0", "model.24"
"""Names of the first layer and of the head, here as in the original."""


class Detector(nn.Module):
    """What the networks of all families have.

    Attributes:
        settings: the arguments that build the network anew, and its `family` (see `families.py`) unless that is YOLOv5.
        model: the layers, numbered as in the original, the head last.
        input_quantizer: the slot of the picture.

    `forward` takes float images in 0..1, [batch, 3, height, width], both sides multiples of 32, and returns the raw
    heads; `detect.decode` turns them into what an export puts out, `detect.rows` into rows of boxes.
    """

    EDGES: tuple[str, ...] = (f"{STEM}.conv",)
    """Patterns of the names of convolutions that keep wide weights: the first one, and those whose outputs are the heads."""

    settings: dict
    model: nn.ModuleList

    @property
    def detect(self) -> nn.Module:
        """The detection head."""
        return self.model[-1]

    def loss(self, pixels: int, classes: float):
        """The loss for inputs whose longer side has so many pixels, with the given gain of the classes."""
        raise NotImplementedError

    def features(self, x: Tensor) -> list[Tensor]:
        """The tensors that enter the head, finest first."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.detect(self.features(x))


class Network(Detector):
    """YOLOv5 detector.

    Args:
        classes: number of classes.
        anchors: nine (width, height) pairs in input pixels, smallest first.
        size: one of n, s, m, l, x.
        activation: relu, silu or leaky.
    """

    EDGES = (f"{STEM}.conv", f"{HEAD}.*")

    def __init__(self, classes: int, anchors: list[tuple[float, float]], size: str = "n", activation: str = "relu"):
        super().__init__()
        self.settings = {"classes": classes, "anchors": [list(map(float, a)) for a in anchors], "size": size,
                         "activation": activation}
        depth, width = SIZES[size]

        def c(channels: int) -> int:
            return math.ceil(channels * width / 8) * 8

        def n(repeats: int) -> int:
            return max(round(repeats * depth), 1)

        # Tensors that meet in a concatenation of the neck share a slot: those of stride 8 and those of stride 16,
        # each together with the tensor that comes from the level beside it.
        fine, coarse = QuantizerSlot(), QuantizerSlot()
        a = {"activation": activation}
        self.model = nn.ModuleList([
            ConvBlock(3, c(64), 6, 2, padding=2, **a),
            ConvBlock(c(64), c(128), 3, 2, **a),
            C3(c(128), c(128), n(3), **a),
            ConvBlock(c(128), c(256), 3, 2, **a),
            C3(c(256), c(256), n(6), slot=fine, **a),
            ConvBlock(c(256), c(512), 3, 2, **a),
            C3(c(512), c(512), n(9), slot=coarse, **a),
            ConvBlock(c(512), c(1024), 3, 2, **a),
            C3(c(1024), c(1024), n(3), **a),
            SPPF(c(1024), c(1024), **a),
            ConvBlock(c(1024), c(512), 1, slot=coarse, **a),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Identity(),  # 12: concatenation with layer 6
            C3(c(1024), c(512), n(3), shortcut=False, **a),
            ConvBlock(c(512), c(256), 1, slot=fine, **a),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Identity(),  # 16: concatenation with layer 4
            C3(c(512), c(256), n(3), shortcut=False, **a),
            ConvBlock(c(256), c(256), 3, 2, slot=fine, **a),
            nn.Identity(),  # 19: concatenation with layer 14
            C3(c(512), c(512), n(3), shortcut=False, **a),
            ConvBlock(c(512), c(512), 3, 2, slot=coarse, **a),
            nn.Identity(),  # 22: concatenation with layer 10
            C3(c(1024), c(1024), n(3), shortcut=False, **a),
            Detect(classes, [c(256), c(512), c(1024)], torch.tensor(anchors).view(3, 3, 2)),
        ])
        self.input_quantizer = QuantizerSlot()
        initialize(self.detect)

    def loss(self, pixels: int, classes: float) -> Loss:
        return Loss(self.detect, pixels, classes=classes)

    def features(self, x: Tensor) -> list[Tensor]:
        """The three tensors that enter the head, strides 8, 16 and 32."""
        m = self.model
        x = self.input_quantizer(x)
        for layer in m[:5]:
            x = layer(x)
        p3 = x
        p4 = m[6](m[5](p3))
        top = m[10](m[9](m[8](m[7](p4))))
        middle = m[14](m[13](torch.cat((m[11](top), p4), 1)))
        out3 = m[17](torch.cat((m[15](middle), p3), 1))
        out4 = m[20](torch.cat((m[18](out3), middle), 1))
        out5 = m[23](torch.cat((m[21](out4), top), 1))
        return [out3, out4, out5]


def initialize(detect: Detect) -> None:
    """Biases of the heads: about eight objects in a 640-pixel image and classes equally likely (Focal Loss 3.3)."""
    for conv, stride in zip(detect.m, detect.STRIDES):
        with torch.no_grad():
            bias = conv.bias.view(detect.count, -1)
            bias[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias[:, 5:] += math.log(0.6 / (detect.classes - 0.99999))
