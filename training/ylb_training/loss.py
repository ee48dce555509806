"""Target assignment and loss of YOLOv5 v7."""

import torch
from torch import Tensor, nn

from .blocks import Detect
from .boxes import ciou

ANCHOR_RATIO = 4.0
"""A box is matched to an anchor when neither side differs by more than this factor."""
LEVEL_WEIGHTS = (4.0, 1.0, 0.4)
"""Weights of the objectness loss, finest level first."""


def assign(targets: Tensor, anchors: Tensor, rows: int, columns: int, neighbours: bool = True):
    """Match boxes with anchors and cells of one level.

    A box goes to every anchor whose width and height differ by a factor below `ANCHOR_RATIO`, in the cell that holds
    its centre and in the two cells (of those left, above, right, below) nearest to the centre.

    Args:
        targets: [n, 6]: image, class, x, y, width, height, as fractions of the input.
        anchors: [a, 2] in cells.
        neighbours: whether the two nearest cells take part, as only a head can use whose centres reach beyond the cell.

    Returns image, anchor, row, column (indices of the matches), their boxes [m, 4] in cells with the centre relative
    to the cell, their anchors [m, 2] and classes.
    """
    scale = targets.new_tensor([columns, rows, columns, rows])
    boxes = targets[:, 2:6] * scale
    ratio = boxes[None, :, 2:] / anchors[:, None]
    matched = torch.maximum(ratio, 1 / ratio.clamp(min=1e-9)).amax(2) < ANCHOR_RATIO
    anchor, target = matched.nonzero(as_tuple=True)
    centre = boxes[target, :2]
    mirrored = scale[:2] - centre
    # Neighbours: a centre in the first half of its cell takes the cell before, in the second half the cell after.
    near, far = (centre % 1 < 0.5) & (centre > 1), (mirrored % 1 < 0.5) & (mirrored > 1)
    chosen = torch.stack((torch.ones_like(near[:, 0]), near[:, 0], near[:, 1], far[:, 0], far[:, 1]))
    if not neighbours:
        chosen[1:] = False
    shifts = centre.new_tensor([[0, 0], [-1, 0], [0, -1], [1, 0], [0, 1]])
    which, match = chosen.nonzero(as_tuple=True)
    cell = (centre[match].floor() + shifts[which]).long()
    column = cell[:, 0].clamp(0, columns - 1)
    row = cell[:, 1].clamp(0, rows - 1)
    anchor, target = anchor[match], target[match]
    offset = centre[match] - torch.stack((column, row), 1)
    image = targets[target, 0].long()
    found = torch.cat((offset, boxes[target, 2:]), 1)
    return (image, anchor, row, column), found, anchors[anchor], targets[target, 1].long()


class Loss:
    """Box (CIoU), objectness (target: the CIoU) and class loss, summed over levels and multiplied by the batch size.

    Args:
        detect: head whose anchors are used.
        pixels: longer side of the input; the gain of the objectness is scaled by its square.
        box, objectness, classes: gains at 640 pixels, 80 classes.
        neighbours: see `assign`.
    """

    PARTS = ("box", "objectness", "class")

    def __init__(self, detect: Detect, pixels: int, box: float = 0.05, objectness: float = 1.0, classes: float = 0.5,
                 neighbours: bool = True):
        self.detect, self.neighbours = detect, neighbours
        self.box = box
        self.objectness = objectness * (pixels / 640) ** 2
        self.classes = classes * detect.classes / 80
        self.bce = nn.BCEWithLogitsLoss()

    def __call__(self, heads: list[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and its three parts (box, objectness, class; per image, without gradient)."""
        box = objectness = classes = heads[0].new_zeros(())
        for head, anchors, weight in zip(heads, self.detect.anchors, LEVEL_WEIGHTS):
            head = head.float()
            index, boxes, sizes, labels = assign(targets, anchors, head.shape[2], head.shape[3], self.neighbours)
            goal = torch.zeros_like(head[..., 4])
            if len(labels):
                found = head[index]
                overlap = ciou(self.detect.boxes(found, sizes), boxes)
                box = box + (1 - overlap).mean()
                goal[index] = overlap.detach().clamp(0)
                if self.detect.classes > 1:
                    wanted = nn.functional.one_hot(labels, self.detect.classes).to(found.dtype)
                    classes = classes + self.bce(found[:, 5:], wanted)
            objectness = objectness + self.bce(head[..., 4], goal) * weight
        parts = torch.stack((box * self.box, objectness * self.objectness, classes * self.classes))
        return parts.sum() * heads[0].shape[0], parts.detach()

    def distance(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        """How far the student's heads are from the teacher's, weighted by the teacher's objectness.

        Objectness and classes by cross entropy with the teacher's probabilities, the four box values by squared error.
        """
        loss = student[0].new_zeros(())
        for s, t in zip(student, teacher):
            weight = t[..., 4:5].sigmoid()
            total = weight.sum().clamp(min=1.0)
            loss = loss + nn.functional.binary_cross_entropy_with_logits(s[..., 4:5], weight)
            classes = nn.functional.binary_cross_entropy_with_logits(s[..., 5:], t[..., 5:].sigmoid(), reduction="none")
            box = (self.detect.shape(s) - self.detect.shape(t)).square()
            loss = loss + (weight * classes).sum() / total / s[..., 5:].shape[-1] + 4 * (weight * box).sum() / total
        return loss * student[0].shape[0]
