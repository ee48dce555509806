"""Tests of the networks beside YOLOv5, and of their losses."""

import tempfile
import unittest
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import torch

from tests.test_training import synthetic
from ylb_training import aligned, boxes, evaluate, loss
from ylb_training.export import export
from ylb_training.families import MODELS, build, fresh
from ylb_training.quantize import Widths, quantize, requantize
from ylb_training.sensitivity import layers_of, measure
from ylb_training.yolov3 import Tiny
from ylb_training.yolov8 import DistanceDetect, Network8

torch.set_num_threads(1)
ANCHORS = [(10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)]
TARGETS = torch.tensor([[0, 0, 0.5, 0.5, 0.2, 0.3], [1, 1, 0.3, 0.6, 0.4, 0.4], [1, 0, 0.7, 0.4, 0.3, 0.5]])


def count(network) -> int:
    return sum(p.numel() for p in network.parameters())


class NetworkTest(unittest.TestCase):
    def test_parameter_counts_are_those_published(self):
        # With 80 classes; YOLOv8 counts the 16 numbers of the means of its distributions, which are no parameters here.
        for size, parameters in (("n", 3_157_200), ("s", 11_166_560), ("m", 25_902_640)):
            self.assertEqual(count(Network8(80, size)) + 16, parameters, size)
        # yolov3-tiny.weights holds 8 858 734 numbers, two for each of 3184 normalized channels being statistics.
        self.assertEqual(count(Tiny(80, ANCHORS)), 8_858_734 - 2 * 3184)

    def test_every_model_is_built_anew_from_its_settings(self):
        anchors = lambda n: (ANCHORS + ANCHORS)[:n]
        for model in (m for m in MODELS if m[-1] in "ny"):
            network = fresh(model, 3, "silu", 1.0, anchors)
            again = build(network.settings)
            again.load_state_dict(network.state_dict())
            self.assertEqual(type(again), type(network))
        with self.assertRaisesRegex(SystemExit, "--width"):
            fresh("v8n", 3, "relu", 0.5, anchors)

    def test_layers_of_the_sensitivity_are_those_with_convolutions(self):
        self.assertEqual(layers_of(Tiny(2, ANCHORS, 0.25)), [2, 4, 6, 8, 10, 13, 14, 15, 16, 19])
        self.assertEqual(layers_of(Network8(2)), [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 18, 19, 21])


    def test_the_sensitivity_of_each_layer_is_measured(self):
        saved = {"input": [64, 96], "names": ["a", "b"]}
        lines = list(measure(Tiny(2, ANCHORS, 0.25, "silu").eval(), saved, synthetic(8), synthetic(2), 2, 2, 8))
        self.assertEqual([line.split()[0] for line in lines], ["all", *(f"model.{k}" for k in (2, 4, 6, 8, 10, 13, 14, 15, 16, 19))])


class DecodeTest(unittest.TestCase):
    def test_distances_are_means_of_their_distributions(self):
        detect = DistanceDetect(2, [16, 16, 16])
        heads = [torch.zeros(1, 66, 64 // s, 96 // s) for s in (8, 16, 32)]
        # The four edges of the second cell of the first row, stride 8: 1, 2, 3 and 4 strides from its centre.
        for edge in range(4):
            heads[0][0, 16 * edge + edge + 1, 0, 1] = 100.0
        rows = detect.rows(heads)
        self.assertEqual(tuple(rows.shape), (1, 8 * 12 + 4 * 6 + 2 * 3, 7))
        self.assertTrue(torch.allclose(rows[0, 1], torch.tensor([12 + 8.0, 4 + 8.0, 32, 48, 1, 0.5, 0.5])))
        self.assertEqual(tuple(detect.decode(heads).shape), (1, 6, 126))

    def test_exponentials_of_zero_are_the_anchors_at_the_cell_centres(self):
        network = Tiny(3, ANCHORS, 0.25)
        rows = network.detect.decode([torch.zeros(1, 3, 64 // s, 96 // s, 8) for s in (16, 32)])
        self.assertEqual(tuple(rows.shape), (1, 3 * (4 * 6 + 2 * 3), 8))
        self.assertTrue(torch.allclose(rows[0, 1, :4], torch.tensor([24.0, 8, 10, 14])))
        self.assertTrue(torch.allclose(rows[0, 72, :4], torch.tensor([16.0, 16, 81, 82])))

    def test_training_boxes_are_those_of_the_decode(self):
        detect = Tiny(3, ANCHORS, 0.25).detect
        heads = [torch.randn(1, 3, 2, 3, 8), torch.randn(1, 3, 1, 2, 8)]
        row = detect.decode(heads)[0, 4]
        found = detect.boxes(heads[0][0, 0, 1, 1][None], detect.anchors[0, 0][None])[0]
        self.assertTrue(torch.allclose(row[:4], (found + torch.tensor([1.0, 1, 0, 0])) * 16))

    def test_pooling_of_stride_1_sees_a_zero_beyond_the_edge(self):
        network = Tiny(2, ANCHORS, 0.25)
        x = torch.full((1, 1, 2, 2), -1.0)
        self.assertEqual(network.model[12](network.model[11](x)).flatten().tolist(), [-1.0, 0, 0, 0])


class AlignedTest(unittest.TestCase):
    def setUp(self):
        y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
        self.centres = torch.stack((x, y), 2).reshape(-1, 2) + 0.5

    def test_the_best_aligned_cells_learn_a_box_and_one_box_only(self):
        found = torch.cat((self.centres, torch.full((64, 2), 4.0)), 1)
        scores = torch.full((64, 2), 0.5)
        truth = torch.tensor([[2.5, 2.5, 4, 4], [3.5, 3.5, 4, 4]])
        cell, box, goal = aligned.align(scores, found, self.centres, truth, torch.tensor([0, 1]))
        self.assertEqual(len(cell.unique()), len(cell))
        self.assertLessEqual(box.bincount().max(), aligned.CELLS)
        for index, place in enumerate((2 * 8 + 2, 3 * 8 + 3)):
            best = cell[box == index][goal[box == index].argmax()]
            self.assertEqual(int(best), place)
            # The best of them is right, so its goal is its overlap: 1.
            self.assertAlmostEqual(float(goal[box == index].max()), 1.0, places=5)
        inside = (self.centres[cell] - truth[box, :2]).abs() < truth[box, 2:] / 2
        self.assertTrue(inside.all())

    def test_a_score_decides_between_cells_of_equal_overlap(self):
        truth = torch.tensor([[4.0, 4, 2, 2]])
        found = truth.expand(64, 4)
        scores = torch.full((64, 1), 0.1)
        scores[3 * 8 + 4] = 0.9
        cell, _, goal = aligned.align(scores, found, self.centres, truth, torch.tensor([0]))
        self.assertEqual(sorted(cell.tolist()), [27, 28, 35, 36])
        self.assertEqual(int(cell[goal.argmax()]), 28)
        self.assertAlmostEqual(float(goal.min() / goal.max()), (0.1 / 0.9) ** 0.5, places=5)

    def test_boxes_between_all_cells_are_learned_by_none(self):
        truth = torch.tensor([[4.0, 4, 0.5, 0.5]])
        cell, _, _ = aligned.align(torch.full((64, 1), 0.1), truth.expand(64, 4), self.centres, truth, torch.tensor([0]))
        self.assertEqual(len(cell), 0)

    def test_distributions_are_pulled_to_the_two_bins_beside_a_distance(self):
        measure = aligned.AlignedLoss(DistanceDetect(2, [16, 16, 16]))
        wanted = torch.tensor([[2.25, 0.0, 14.5, 99.0]])
        values = torch.full((1, 4, 16), -30.0)
        for edge, shares in enumerate(({2: 0.75, 3: 0.25}, {0: 1.0}, {14: 0.5, 15: 0.5}, {14: 0.01, 15: 0.99})):
            for bin_, share in shares.items():
                values[0, edge, bin_] = np.log(share)
        best = float(measure._distances(values.view(1, 64), wanted))
        entropy = lambda *p: -sum(v * np.log(v) for v in p if v)
        self.assertAlmostEqual(best, (entropy(0.75, 0.25) + entropy(0.5, 0.5) + entropy(0.01, 0.99)) / 4, places=3)
        self.assertGreater(float(measure._distances(torch.zeros(1, 64), wanted)), best)

    def test_pictures_without_boxes_have_a_loss(self):
        network = Network8(2)
        value, parts = network.loss(96, 0.5)(network(torch.rand(2, 3, 64, 96)), torch.zeros(0, 6))
        value.backward()
        self.assertTrue(torch.isfinite(value))
        self.assertEqual((float(parts[0]), float(parts[2])), (0, 0))


class LossTest(unittest.TestCase):
    def test_training_steps_lower_every_loss_and_find_the_boxes(self):
        images = torch.rand(2, 3, 96, 128)
        for network in (Network8(2), Tiny(2, ANCHORS, 0.25)):
            torch.manual_seed(0)
            measure = network.loss(128, 0.5)
            optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
            values = []
            for _ in range(30):
                value, _ = measure(network(images), TARGETS)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                values.append(float(value))
            self.assertLess(values[-1], 0.7 * values[0], type(network))

    def test_the_teacher_itself_is_at_no_distance(self):
        for network in (Network8(2).eval(), Tiny(2, ANCHORS, 0.25).eval()):
            measure = network.loss(96, 0.5)
            first = [torch.randn(head.shape) for head in network(torch.rand(2, 3, 64, 96))]
            second = [torch.randn(head.shape) for head in first]
            own = float(measure.distance(first, first).detach())
            for other in (second, [head + 0.3 for head in first]):
                self.assertGreater(float(measure.distance(other, first).detach()), own)
        self.assertAlmostEqual(float(Network8(2).loss(96, 0.5).distance([torch.ones(1, 66, 8, 12), torch.ones(1, 66, 4, 6),
                               torch.ones(1, 66, 2, 3)], [torch.ones(1, 66, 8, 12), torch.ones(1, 66, 4, 6),
                               torch.ones(1, 66, 2, 3)])), 0.0, places=4)

    def test_a_centre_that_cannot_leave_its_cell_has_no_neighbours(self):
        targets = torch.tensor([[0, 1, 3.25 / 8, 2.75 / 8, 2 / 8, 2 / 8]])
        (_, _, row, column), found, _, _ = loss.assign(targets, torch.tensor([[2.0, 2.0]]), 8, 8, neighbours=False)
        self.assertEqual((row.tolist(), column.tolist()), ([2], [3]))
        self.assertTrue(((found[:, :2] >= 0) & (found[:, :2] < 1)).all())


class ExportTest(unittest.TestCase):
    def test_grids_are_shared_by_what_is_concatenated(self):
        m = quantize(Network8(3), Widths(4, 4)).model
        self.assertIs(m[2].cv1.quantizer, m[2].m[0].quantizer)
        self.assertIs(m[4].m[0].quantizer, m[4].m[1].quantizer)
        for shared in ((m[4].cv2, m[12].cv2, m[16]), (m[6].cv2, m[9].cv2, m[19])):
            self.assertEqual(len({id(block.quantizer) for block in shared}), 1)
        m = quantize(Tiny(3, ANCHORS, 0.25), Widths(4, 4)).model
        self.assertIs(m[8].quantizer, m[16].quantizer)

    def test_only_the_first_and_the_last_convolutions_are_edges(self):
        for network, edges in ((Network8(3), 7), (Tiny(3, ANCHORS, 0.25), 3)):
            lower = requantize(quantize(network, Widths(4, 4)), Widths(2, 2))
            bits = Counter(int(m.weight_quant.tensor_quant.bits) for m in lower.modules() if hasattr(m, "weight_quant"))
            self.assertEqual(bits[8], edges)
            self.assertEqual(set(bits), {2, 8})

    def test_exports_are_of_the_form_of_their_family(self):
        for network, shape in ((Network8(3, activation="silu"), [1, 7, 126]), (Tiny(3, ANCHORS, 0.25, "leaky"), [1, 90, 8])):
            quantize(network, Widths(4, 4, zero_points=True)).eval()
            with tempfile.TemporaryDirectory() as folder:
                file = str(Path(folder) / "x.onnx")
                export(network, ["a", "b", "c"], 64, 96, file)
                graph = onnx.load(file).graph
            kinds = Counter(node.op_type for node in graph.node)
            with torch.no_grad():
                self.assertEqual(list(network.detect.decode(network(torch.zeros(1, 3, 64, 96))).shape), shape)
            joined = {node.output[0] for node in graph.node if node.op_type == "Concat"}
            self.assertFalse([n.name for n in graph.node if n.op_type == "Quant" and n.input[0] in joined])
            self.assertEqual(kinds["Softmax"], 1 if shape[1] == 7 else 0)
            self.assertEqual(kinds["Exp"], 0 if shape[1] == 7 else 2)

    def test_rows_of_every_family_are_measured(self):
        image = np.zeros((1, 64, 96, 3), np.uint8)
        for network in (Network8(3).eval(), Tiny(3, ANCHORS, 0.25).eval()):
            rows = evaluate.decoded(network, image)[0]
            self.assertEqual(rows.shape[1], 8)
            self.assertEqual(boxes.detections(rows, 0.001, 0.6).shape[1], 6)


if __name__ == "__main__":
    unittest.main()
