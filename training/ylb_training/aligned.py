"""Loss of heads without anchors: task-aligned assignment, distributions of distances.

Which cells learn a box is decided by what the network finds there: the score of the box's class and the overlap of the two boxes
(Feng et al. 2021, "TOOD: Task-aligned One-stage Object Detection", arXiv:2108.07755). Distances are learned by their overlap
and as distributions (Li et al. 2020, "Generalized Focal Loss", arXiv:2006.04388).
"""

import torch
from torch import Tensor, nn

from .boxes import ciou

CELLS = 10
"""At most so many cells learn a box."""
SCORE_POWER, OVERLAP_POWER = 0.5, 6.0
"""Alignment is score to the first power times overlap to the second one, as YOLOv8 has them."""


def align(scores: Tensor, boxes: Tensor, centres: Tensor, truth: Tensor, labels: Tensor):
    """Cells of one picture that learn a box.

    Args:
        scores: [cells, classes], 0 to 1.
        boxes: [cells, 4], what the network finds, centre and size.
        centres: [cells, 2] of the cells, in the unit of the boxes.
        truth: [n, 4] centre and size; n > 0.
        labels: [n].

    Returns the indices of the cells, the box of each, and the goal of its class score. Candidates for a box are the cells whose
    centre lies inside it; the best aligned ones learn it. A cell that would learn several learns the one it overlaps most.
    """
    near, far = truth[:, :2] - truth[:, 2:] / 2, truth[:, :2] + truth[:, 2:] / 2
    inside = torch.minimum(centres[None] - near[:, None], far[:, None] - centres[None]).amin(2) > 1e-9
    overlap = torch.zeros(inside.shape, dtype=boxes.dtype, device=boxes.device)
    box, cell = inside.nonzero(as_tuple=True)
    overlap[box, cell] = ciou(boxes[cell], truth[box]).clamp(min=0).to(overlap.dtype)
    alignment = scores[:, labels].T ** SCORE_POWER * overlap ** OVERLAP_POWER
    # Cells inside come first, even where nothing overlaps yet.
    order = torch.where(inside, alignment, -1.0).topk(min(CELLS, inside.shape[1]), 1).indices
    chosen = torch.zeros_like(inside).scatter_(1, order, True) & inside
    best = torch.where(chosen, overlap, -1.0).argmax(0)
    chosen &= torch.zeros_like(chosen).scatter_(0, best[None], True)
    alignment = alignment * chosen
    # The best aligned cell of a box is to score what it overlaps at best, the others in proportion.
    factor = (overlap * chosen).amax(1) / alignment.amax(1).clamp(min=1e-9)
    box, cell = chosen.nonzero(as_tuple=True)
    return cell, box, alignment[box, cell] * factor[box]


class AlignedLoss:
    """Box (CIoU), class and distance loss, multiplied by the batch size.

    Args:
        detect: the head, of `yolov8.DistanceDetect`.
        box, classes, distance: gains.
    """

    PARTS = ("box", "class", "distance")

    def __init__(self, detect, box: float = 7.5, classes: float = 0.5, distance: float = 1.5):
        self.detect, self.box, self.classes, self.spread = detect, box, classes, distance

    def _split(self, heads: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Box logits [batch, 4 * bins, cells] and class logits [batch, cells, classes]."""
        flat = torch.cat([head.float().flatten(2) for head in heads], 2)
        boxes, labels = flat.split((4 * self.detect.BINS, self.detect.classes), 1)
        return boxes, labels.transpose(1, 2)

    def __call__(self, heads: list[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and its three parts (box, class, distance; per image, without gradient).

        Targets are [n, 6]: image, class, x, y, width, height, as fractions of the input.
        """
        values, labels = self._split(heads)
        centres, strides = self.detect.cells(heads)
        centres, strides = centres[0].T, strides[0][:, None]
        near, far = self.detect.distances(values).transpose(1, 2).split((2, 2), 2)
        boxes = torch.cat((centres + (far - near) / 2, near + far), 2)  # in strides
        rows, columns = heads[0].shape[2:]
        finest = self.detect.STRIDES[0]
        pixels = targets.new_tensor([columns, rows, columns, rows]) * finest
        goal = torch.zeros_like(labels)
        images, cells, found = [], [], []
        with torch.no_grad():
            for image in range(len(labels)):
                own = targets[targets[:, 0] == image]
                if not len(own):
                    continue
                truth, kinds = own[:, 2:6] * pixels, own[:, 1].long()
                cell, box, score = align(labels[image].sigmoid(), boxes[image] * strides, centres * strides, truth, kinds)
                goal[image, cell, kinds[box]] = score
                images.append(torch.full_like(cell, image))
                cells.append(cell)
                found.append(truth[box])
        total = goal.sum().clamp(min=1.0)
        parts = [values.new_zeros(()), nn.functional.binary_cross_entropy_with_logits(labels, goal, reduction="sum") / total,
                 values.new_zeros(())]
        if images:
            image, cell, truth = torch.cat(images), torch.cat(cells), torch.cat(found)
            weight = goal[image, cell].sum(1)
            truth = truth / strides[cell]
            parts[0] = ((1 - ciou(boxes[image, cell], truth)) * weight).sum() / total
            half = truth[:, 2:] / 2
            wanted = torch.cat((centres[cell] - truth[:, :2] + half, truth[:, :2] + half - centres[cell]), 1)
            parts[2] = (self._distances(values[image, :, cell], wanted) * weight).sum() / total
        parts = torch.stack((parts[0] * self.box, parts[1] * self.classes, parts[2] * self.spread))
        return parts.sum() * len(labels), parts.detach()

    def _distances(self, values: Tensor, wanted: Tensor) -> Tensor:
        """Cross entropy [n] of logits [n, 4 * bins] with the two bins beside each wanted distance [n, 4], mean of the four."""
        bins = self.detect.BINS
        wanted = wanted.clamp(0, bins - 1.01)
        low = wanted.long()
        share = wanted - low
        logs = values.view(-1, 4, bins).log_softmax(2)
        below, above = (logs.gather(2, index[..., None])[..., 0] for index in (low, low + 1))
        return -(below * (1 - share) + above * share).mean(1)

    def distance(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        """How far the student's heads are from the teacher's: classes, and distributions where the teacher sees an object.

        Both by cross entropy with the teacher's probabilities, less its own entropy.
        """
        values, labels = self._split(student)
        goal_values, goal_labels = self._split(teacher)
        goal = goal_labels.sigmoid()
        weight = goal.amax(2)
        total = weight.sum().clamp(min=1.0)
        entropy = nn.functional.binary_cross_entropy(goal, goal, reduction="sum")
        classes = nn.functional.binary_cross_entropy_with_logits(labels, goal, reduction="sum") - entropy
        shape = (len(values), 4, self.detect.BINS, -1)
        logs, goal_logs = values.view(shape).log_softmax(2), goal_values.view(shape).log_softmax(2)
        spread = (goal_logs.exp() * (goal_logs - logs)).sum(2).mean(1)
        return (classes / total + 2 * (weight * spread).sum() / total) * len(values)
