"""Building blocks of YOLOv5 v7: convolution block, bottleneck, C3, SPPF and detection head; other families take some of them.

Parameter names (``conv``, ``bn``, ``cv1``, ``m`` ...) are those of the original state dict. Every place where an
activation is quantized is a :class:`QuantizerSlot`, the identity in a float network; `quantize.py` fills the slots.
Two blocks that hold the *same* slot object end on the same scale: that is how operands of a concatenation are kept on
one grid, so that the concatenation itself needs no requantization.
"""

import torch
from torch import Tensor, nn

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "leaky": lambda: nn.LeakyReLU(0.1)}


class QuantizerSlot(nn.Identity):
    """Marks a tensor that quantization-aware training puts on a grid."""


class ConvBlock(nn.Module):
    """Convolution without bias, batch normalization, activation, quantizer."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, *,
                 activation: str = "relu", padding: int | None = None, slot: nn.Module | None = None):
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.03)
        self.act = ACTIVATIONS[activation]()
        self.quantizer = slot if slot is not None else QuantizerSlot()

    def forward(self, x: Tensor) -> Tensor:
        return self.quantizer(self.act(self.bn(self.conv(x))))


class Bottleneck(nn.Module):
    """Two convolutions, the first 1x1 unless told otherwise, with a sum around both where `shortcut` is set.

    `slot` quantizes the output of the block: the sum, or the second convolution where there is no sum.
    """

    def __init__(self, channels: int, *, shortcut: bool, activation: str, slot: nn.Module | None = None,
                 kernel: int = 1):
        super().__init__()
        output = slot if slot is not None else QuantizerSlot()
        self.cv1 = ConvBlock(channels, channels, kernel, activation=activation)
        self.cv2 = ConvBlock(channels, channels, 3, activation=activation, slot=None if shortcut else output)
        self.shortcut = shortcut
        if shortcut:
            self.quantizer = output

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return self.quantizer(x + y) if self.shortcut else y


class C3(nn.Module):
    """Cross-stage block: a chain of bottlenecks beside a 1x1 convolution, concatenated, then a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int, *, shortcut: bool = True,
                 activation: str = "relu", slot: nn.Module | None = None):
        super().__init__()
        hidden = out_channels // 2
        joined = QuantizerSlot()  # one grid for both operands of the concatenation
        self.cv1 = ConvBlock(in_channels, hidden, 1, activation=activation)
        self.cv2 = ConvBlock(in_channels, hidden, 1, activation=activation, slot=joined)
        self.cv3 = ConvBlock(2 * hidden, out_channels, 1, activation=activation, slot=slot)
        self.m = nn.Sequential(*(
            Bottleneck(hidden, shortcut=shortcut, activation=activation, slot=joined if i == repeats - 1 else None)
            for i in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    """Spatial pyramid pooling by three chained 5x5 maxima. Maxima keep the grid, so the concatenation is on it too."""

    def __init__(self, in_channels: int, out_channels: int, *, activation: str = "relu", kernel: int = 5):
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = ConvBlock(in_channels, hidden, 1, activation=activation)
        self.cv2 = ConvBlock(4 * hidden, out_channels, 1, activation=activation)
        self.pool = nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.cv1(x)]
        for _ in range(3):
            levels.append(self.pool(levels[-1]))
        return self.cv2(torch.cat(levels, 1))


class Detect(nn.Module):
    """A 1x1 convolution for each level; `forward` gives the raw heads, `decode` the boxes.

    Args:
        classes: number of classes.
        channels: channels of the inputs, finest first.
        anchors: [levels][3][2], widths and heights in input pixels.
    """

    STRIDES = (8, 16, 32)

    def __init__(self, classes: int, channels: list[int], anchors: Tensor):
        super().__init__()
        self.classes = classes
        self.outputs = classes + 5
        self.count = anchors.shape[1]
        strides = torch.tensor(self.STRIDES, dtype=torch.float32)
        self.register_buffer("anchors", anchors.float() / strides.view(-1, 1, 1))  # in cells, as the original stores
        self.m = nn.ModuleList(nn.Conv2d(c, self.outputs * self.count, 1) for c in channels)
        self.grids: dict[tuple, tuple[Tensor, Tensor]] = {}

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Raw heads [batch, anchor, row, column, 5 + classes]."""
        heads = []
        for conv, x in zip(self.m, features):
            y = conv(x)
            batch, _, rows, columns = y.shape
            heads.append(y.view(batch, self.count, self.outputs, rows, columns).permute(0, 1, 3, 4, 2).contiguous())
        return heads

    def decode(self, heads: list[Tensor]) -> Tensor:
        """Rows x, y, width, height (input pixels), objectness, class scores: [batch, boxes, 5 + classes]."""
        levels = []
        for level, head in enumerate(heads):
            batch, count, rows, columns, _ = head.shape
            grid, size = self._grid(level, rows, columns, head.device)
            xy, wh, rest = head.sigmoid().split((2, 2, self.classes + 1), 4)
            boxes = torch.cat(((xy * 2 + grid) * self.STRIDES[level], (wh * 2) ** 2 * size, rest), 4)
            levels.append(boxes.view(batch, count * rows * columns, self.outputs))
        return torch.cat(levels, 1)

    def rows(self, heads: list[Tensor]) -> Tensor:
        """What all families give for evaluation: x, y, width, height, objectness, class scores, [batch, boxes, 5 + classes]."""
        return self.decode(heads)

    def boxes(self, found: Tensor, sizes: Tensor) -> Tensor:
        """Boxes [n, 4] in cells, the centre relative to the cell, of raw values [n, >= 4] at anchors of `sizes` [n, 2]."""
        return torch.cat((found[:, :2].sigmoid() * 2 - 0.5, (found[:, 2:4].sigmoid() * 2) ** 2 * sizes), 1)

    def shape(self, head: Tensor) -> Tensor:
        """The four box values of a head on the scale on which a student's are compared with its teacher's."""
        return head[..., :4].sigmoid()

    def _grid(self, level: int, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cell corners less a half, and anchors in pixels, each [1, anchors, rows, columns, 2].

        Kept between calls, so that an export after a first call sees constants instead of the operators behind them.
        """
        key = (level, int(rows), int(columns), device)
        if key not in self.grids:
            y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
            shape = (1, self.count, rows, columns, 2)
            size = (self.anchors[level] * self.STRIDES[level]).view(1, self.count, 1, 1, 2)
            grid = torch.stack((x, y), 2).float() - 0.5
            self.grids[key] = (grid.expand(shape).contiguous(), size.expand(shape).contiguous())
        return self.grids[key]
