"""Tests of the training package: `python -m unittest discover tests`."""

import io
import tempfile
import time
import unittest
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import torch

from ylb_training import agreement, anchors, boxes, dataset, fakequant, loss, metrics
from ylb_training.augment import Augmentation, picture
from ylb_training import original
from ylb_training.export import export
from ylb_training.holdout import hold_out
from ylb_training.network import Network
from ylb_training.quantize import Widths, activation_quantizers, quantize, requantize
from ylb_training.trainer import Recipe, Trainer

torch.set_num_threads(1)
ANCHORS = [(10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)]


def synthetic(count: int = 6) -> list[dataset.Sample]:
    """Pictures of bright squares on noise, with their boxes."""
    rng = np.random.default_rng(0)
    samples = []
    for k in range(count):
        image = rng.integers(0, 60, (96, 128, 3), dtype=np.uint8)
        x, y, side = rng.integers(10, 60), rng.integers(10, 50), rng.integers(12, 30)
        image[y:y + side, x:x + side] = 220
        label = [k % 2, (x + side / 2) / 128, (y + side / 2) / 96, side / 128, side / 96]
        samples.append(dataset.Sample(image, np.array([label], dtype=np.float32), Path(f"{k}.png")))
    return samples


class NetworkTest(unittest.TestCase):
    def test_parameter_counts_are_those_published(self):
        # YOLOv5 v7.0 with 80 classes.
        for size, count in (("n", 1_872_157), ("s", 7_235_389), ("m", 21_190_557)):
            network = Network(80, ANCHORS, size)
            self.assertEqual(sum(p.numel() for p in network.parameters()), count, size)

    def test_original_state_is_taken_by_name(self):
        network = Network(3, ANCHORS, "n", "silu").eval()
        state = {"model." + k: v for k, v in network.state_dict().items()}
        again = original.network(state, "silu").eval()
        x = torch.rand(1, 3, 64, 96)
        for a, b in zip(network(x), again(x)):
            self.assertTrue(torch.equal(a, b))
        with self.assertRaises(SystemExit):
            original.network({k: v for k, v in state.items() if "model.9." not in k}, "silu")

    def test_decode_of_zero_heads_is_the_anchors_at_the_cell_centres(self):
        network = Network(3, ANCHORS)
        rows = network.detect.decode([torch.zeros(1, 3, 64 // s, 96 // s, 8) for s in (8, 16, 32)])
        self.assertEqual(tuple(rows.shape), (1, 3 * (8 * 12 + 4 * 6 + 2 * 3), 8))
        self.assertTrue(torch.allclose(rows[0, 1, :4], torch.tensor([12.0, 4.0, 10.0, 13.0])))


class QuantizerTest(unittest.TestCase):
    def test_values_and_gradients_are_those_of_the_formula(self):
        for low, high in ((0, 3), (0, 15), (-1, 1), (-7, 7)):
            x = torch.randn(4, 50, dtype=torch.float64) * 0.3
            x = (x.relu() if low == 0 else x).requires_grad_()
            step = torch.tensor(0.11, dtype=torch.float64, requires_grad=True)
            y = fakequant._Quantize.apply(x, step, low, high)
            v = torch.clamp(x / step, low, high)
            plain = (v + (v.round() - v).detach()) * step
            self.assertTrue(torch.allclose(y, plain))
            g = torch.randn_like(y)
            fast = torch.autograd.grad(y, (x, step), g)
            slow = torch.autograd.grad(plain, (x, step), g)
            self.assertTrue(torch.allclose(fast[0], slow[0]))
            self.assertAlmostEqual(float(fast[1]), float(slow[1]), places=4)

    def test_binary_has_no_zero(self):
        y = fakequant._Binary.apply(torch.tensor([[-0.5, 0.0, 0.2]]), torch.tensor([[0.25]]))
        self.assertEqual(y.tolist(), [[-0.25, 0.25, 0.25]])

    def test_operands_of_a_concatenation_share_a_quantizer(self):
        network = quantize(Network(3, ANCHORS), Widths(4, 4))
        m = network.model
        self.assertIs(m[2].m[-1].quantizer, m[2].cv2.quantizer)
        self.assertIs(m[13].m[-1].cv2.quantizer, m[13].cv2.quantizer)
        self.assertIs(m[10].quantizer, m[6].cv3.quantizer)
        self.assertIs(m[10].quantizer, m[21].quantizer)
        self.assertIs(m[14].quantizer, m[4].cv3.quantizer)
        self.assertIs(m[14].quantizer, m[18].quantizer)
        self.assertEqual(len(activation_quantizers(network)), 53)

    def test_export_has_no_quantizer_behind_a_concatenation(self):
        network = quantize(Network(3, ANCHORS), Widths(1, 2, layers={"model.9.*": 4}))
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "x.onnx")
            export(network, ["a", "b", "c"], 64, 96, file)
            graph = onnx.load(file).graph
        kinds = Counter(n.op_type for n in graph.node)
        # 60 weights, of which 58 hidden, 2 in SPPF; 57 activations, 7 sums, 1 input.
        self.assertEqual((kinds["BipolarQuant"], kinds["Quant"]), (54, 6 + 65))
        joined = {n.output[0] for n in graph.node if n.op_type == "Concat"}
        self.assertFalse([n.name for n in graph.node if n.op_type == "Quant" and n.input[0] in joined])

    def test_single_layers_have_their_own_widths(self):
        network = quantize(Network(2, ANCHORS), Widths(2, 2, 8, {"model.9.*": 4}, {"model.2.m.*": 4}))
        bits = {name: int(m.bit_width) for name, m in network.named_modules() if hasattr(m, "bit_width")
                and name.endswith("tensor_quant")}
        weights = lambda layer: {v for k, v in bits.items() if k.startswith(layer) and ".weight_quant." in k}
        self.assertEqual((weights("model.0."), weights("model.9."), weights("model.8.")), ({8}, {4}, {2}))
        activations = lambda layer: [v for k, v in bits.items() if k.startswith(layer) and ".act_quant." in k]
        self.assertEqual(set(activations("model.3.")), {2})
        self.assertIn(4, activations("model.2.m."))

    def test_other_widths_start_from_the_same_weights(self):
        network = quantize(Network(3, ANCHORS), Widths(4, 4))
        lower = requantize(network, Widths(2, 2))
        self.assertTrue(torch.equal(network.model[3].conv.weight, lower.model[3].conv.weight))
        self.assertEqual(lower.model[3].conv.weight_quant.tensor_quant.bits, 2)


class LossTest(unittest.TestCase):
    def test_a_box_goes_to_its_cell_and_two_neighbours(self):
        targets = torch.tensor([[0, 1, 3.25 / 8, 2.75 / 8, 2 / 8, 2 / 8]])
        (image, anchor, row, column), found, _, labels = loss.assign(targets, torch.tensor([[2.0, 2.0], [20, 20]]), 8, 8)
        self.assertEqual(sorted(zip(anchor.tolist(), row.tolist(), column.tolist())), [(0, 2, 2), (0, 2, 3), (0, 3, 3)])
        self.assertEqual(labels.tolist(), [1, 1, 1])
        self.assertTrue(((found[:, :2] > -0.5) & (found[:, :2] < 1.5)).all())

    def test_training_steps_lower_the_loss(self):
        torch.manual_seed(0)
        network = Network(2, ANCHORS)
        measure = loss.Loss(network.detect, 128)
        images = torch.rand(2, 3, 96, 128)
        targets = torch.tensor([[0, 0, 0.5, 0.5, 0.2, 0.3], [1, 1, 0.3, 0.6, 0.4, 0.4]])
        optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
        values = []
        for _ in range(25):
            value, _ = measure(network(images), targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(float(value))
        self.assertLess(values[-1], 0.8 * values[0])


class TrainerTest(unittest.TestCase):
    def test_a_stopped_run_goes_on(self):
        def trainer(folder: str, epochs: int) -> Trainer:
            torch.manual_seed(0)
            recipe = Recipe(epochs=epochs, batch=2, height=64, width=96, every=1, plain=0, warmup=1)
            return Trainer(Network(2, ANCHORS), ["a", "b"], synthetic(4), synthetic(2), recipe, Path(folder))

        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
            first = trainer(folder, 1)
            self.assertFalse(first.resume())
            first.run()
            second = trainer(folder, 2)
            self.assertTrue(second.resume())
            self.assertEqual((second.epoch, second.step), (1, 2))
            for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True):
                self.assertTrue(torch.equal(a, b))
            second.run()
            self.assertEqual((second.epoch, len((Path(folder) / "log.jsonl").read_text().splitlines())), (2, 2))
            done = trainer(folder, 2)
            done.resume()
            done.run()
            self.assertEqual(done.step, 4)

    def test_a_val_without_boxes_keeps_the_last_weights(self):
        empty = synthetic(2)
        for sample in empty:
            sample.labels = sample.labels[:0]
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
            recipe = Recipe(epochs=2, batch=2, height=64, width=96, every=1, plain=0, warmup=1)
            Trainer(Network(2, ANCHORS), ["a", "b"], synthetic(4), empty, recipe, Path(folder)).run()
            self.assertEqual(torch.load(Path(folder) / "best.pt", weights_only=True)["epoch"], 2)

    def test_cpu_time_stands_still_while_the_process_waits(self):
        with tempfile.TemporaryDirectory() as folder:
            recipe = Recipe(cpu_time=True, height=64, width=96)
            trainer = Trainer(Network(2, ANCHORS), ["a", "b"], synthetic(), synthetic(), recipe, Path(folder))
            before = trainer.elapsed()
            time.sleep(0.3)
            self.assertLess(trainer.elapsed() - before, 0.2)


class DataTest(unittest.TestCase):
    def test_augmented_boxes_stay_on_their_squares(self):
        samples = synthetic()
        rng = np.random.default_rng(1)
        strength = Augmentation(hue=0, saturation=0, value=0)
        for mosaic in (True, False):
            for k in range(20):
                image, labels = picture(samples, k % 6, 96, 128, strength, rng, mosaic)
                for _, x, y, w, h in labels:
                    if w * 128 > 8 and h * 96 > 8:
                        # Within one pixel of the centre of its square, all is bright.
                        self.assertGreater(image[int(y * 96), int(x * 128)].min(), 150)

    def test_letterbox_places_the_picture_in_the_middle(self):
        out, place = dataset.letterbox(np.zeros((480, 640, 3), np.uint8), 256, 320)
        self.assertEqual((out.shape, place.ratio, place.left, place.top), ((256, 320, 3), 0.5, 0, 8))
        self.assertEqual(out[7].min(), 114)
        self.assertEqual(out[8].max(), 0)

    def test_labels_lie_in_the_folder_beside_the_pictures(self):
        for picture_file, labels in (("/d/images/test/a.jpg", "/d/labels/test/a.txt"), ("photos/a.b.png", "photos/a.b.txt"),
                                     ("/images/set/images/a.jpg", "/images/set/labels/a.txt")):
            self.assertEqual(dataset.label_path(Path(picture_file)), Path(labels))

    def test_val_is_taken_out_of_train_with_gaps(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "images").mkdir()
            for k in range(1, 25):
                (root / "images" / f"frame{k}.jpg").touch()
            (root / "data.yaml").write_text("train: images\ntest: images\nnames: [a]\n")
            hold_out(str(root / "data.yaml"), root / "split", 12, 2, 1)
            made = dataset.describe(str(root / "split" / "data.yaml"))
            train, val = ([int(f.stem[5:]) for f in dataset.pictures(made, s)] for s in ("train", "val"))
            self.assertEqual(sorted(val), [10, 11, 22, 23])
            self.assertEqual(sorted(train), [*range(1, 9), *range(13, 21)])
            self.assertEqual(len(dataset.pictures(made, "test")), 24)
            self.assertEqual(made["names"], ["a"])

    def test_anchors_reach_all_boxes(self):
        samples = synthetic()
        found = anchors.kmeans(samples, 96, 128, 3)
        sides = np.concatenate([s.labels[:, 3:] * (128, 96) for s in samples])
        self.assertEqual(anchors.recall(found, sides), 1.0)


class MetricsTest(unittest.TestCase):
    def test_perfect_and_empty(self):
        truth = [np.array([[0, 0, 0, 10, 10], [1, 20, 20, 50, 60.0]])]
        right = [np.array([[0, 0, 10, 10, 0.9, 0], [20, 20, 50, 60, 0.8, 1.0]])]
        self.assertAlmostEqual(metrics.mean_average_precision(right, truth, ["a", "b"])["map50_95"], 1.0)
        none = metrics.mean_average_precision([np.zeros((0, 6))], truth, ["a", "b"])
        self.assertEqual(none["map50_95"], 0.0)

    def test_agrees_with_pycocotools(self):
        try:
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval
        except ImportError:
            self.skipTest("pycocotools is not installed")
        rng = np.random.default_rng(0)
        truth, found = [], []
        for _ in range(30):
            n = rng.integers(0, 12)
            corner = rng.uniform(0, 200, (n, 2))
            real = np.concatenate((rng.integers(0, 3, (n, 1)), corner, corner + rng.uniform(10, 60, (n, 2))), 1)
            near = real[rng.random(n) < 0.8]
            moved = near[:, 1:] + rng.normal(0, 4, (len(near), 4))
            stray = rng.uniform(0, 200, (rng.integers(0, 5), 2))
            stray = np.concatenate((stray, stray + 30), 1)
            both = np.concatenate((moved, stray))
            classes = np.concatenate((near[:, :1], rng.integers(0, 3, (len(stray), 1))))
            truth.append(real)
            found.append(np.concatenate((both, rng.random((len(both), 1)), classes), 1))
        coco = COCO()
        coco.dataset = {"images": [{"id": i + 1} for i in range(30)], "categories": [{"id": c} for c in range(3)],
                        "annotations": []}
        results = []
        for i, (real, dets) in enumerate(zip(truth, found)):
            for row in real:
                box = [*row[1:3], *(row[3:] - row[1:3])]
                coco.dataset["annotations"].append(
                    {"id": len(coco.dataset["annotations"]) + 1, "image_id": i + 1, "category_id": int(row[0]),
                     "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
            results += [{"image_id": i + 1, "category_id": int(d[5]), "score": d[4],
                         "bbox": [*d[:2], *(d[2:4] - d[:2])]} for d in dets]
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        judge.evaluate(), judge.accumulate(), judge.summarize()
        own = metrics.mean_average_precision(found, truth, ["a", "b", "c"])
        self.assertAlmostEqual(own["map50_95"], judge.stats[0], delta=1e-6)
        self.assertAlmostEqual(own["map50"], judge.stats[1], delta=1e-6)

    def test_suppression_keeps_other_classes(self):
        corners = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10.0]])
        kept = boxes.suppress(corners, np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1]), 0.5)
        self.assertEqual(kept.tolist(), [0, 2])


class AgreementTest(unittest.TestCase):
    def test_the_copy_holds_the_same_pixels_and_labels(self):
        samples = synthetic(2)
        with tempfile.TemporaryDirectory() as folder:
            file = agreement.write_copy(samples, ["a", "b"], Path(folder) / "set")
            again = dataset.load(str(file), "all")
            self.assertEqual(dataset.describe(str(file))["names"], ["a", "b"])
        for sample, copy in zip(samples, again, strict=True):
            self.assertTrue(np.array_equal(sample.image, copy.image))
            self.assertTrue(np.array_equal(sample.labels, copy.labels))

    def test_the_runtime_is_asked_and_its_failure_told(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "runtime"
            program.write_text("#!/bin/sh\ncase $2 in bad.ylb) echo no such model >&2; exit 1;; esac\n"
                               "echo '{\"map50\": 0.5, \"map50_95\": 0.25, \"split\": \"'$5'\"}'\n")
            program.chmod(0o755)
            found = agreement.run_runtime(str(program), "model.ylb", Path("data.yaml"), "test")
            self.assertEqual(found, {"map50": 0.5, "map50_95": 0.25, "split": "test"})
            with self.assertRaisesRegex(SystemExit, "no such model"):
                agreement.run_runtime(str(program), "bad.ylb", Path("data.yaml"), "test")
        with self.assertRaisesRegex(SystemExit, "--program"):
            agreement.run_runtime("/nowhere/yolo-lowbit", "model.ylb", Path("data.yaml"), "test")


if __name__ == "__main__":
    unittest.main()
