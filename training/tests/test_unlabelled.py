"""Tests of zero points, of data sets that do not fit into memory, and of training without labels."""

import io
import tempfile
import unittest
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch

from tests.test_families import ANCHORS
from tests.test_training import synthetic
from ylb_training import __main__ as command
from ylb_training import dataset, fakequant, unlabelled
from ylb_training.checkpoint import load
from ylb_training.quantize import Widths, activation_quantizers, calibrate, quantize
from ylb_training.yolov3 import Tiny


class ZeroPointTest(unittest.TestCase):
    def test_the_grid_reaches_as_low_as_the_function_and_has_a_zero(self):
        x = torch.nn.functional.silu(torch.randn(20000) * 2)
        step, zero = fakequant.best_grid(x, 15)
        self.assertIn(zero, (1, 2))
        symmetric = fakequant.best_step(x[None], -8, 7)[0]
        error = lambda s, low, high: float((torch.clamp(x / s, low, high).round() * s - x).square().mean())
        self.assertLess(error(step, -zero, 15 - zero), 0.5 * error(symmetric, -8, 7))
        self.assertEqual(fakequant.best_grid(x.relu(), 15)[1], 0)

    def test_codes_are_those_of_the_formula(self):
        quantizer = fakequant.ActivationQuantizer(4, False, offset=True).double()
        quantizer.zero_point.fill_(3)
        x = torch.linspace(-6, 16, 441, dtype=torch.float64)
        y, scale, zero, _ = quantizer(x)
        codes = torch.clamp((x / scale + zero).round(), 0, 15)
        self.assertTrue(torch.equal(y, (codes - zero) * scale))
        self.assertEqual((float(y.min()), float(y.max())), (-3.0, 12.0))

    def test_zero_points_are_saved_and_symmetric_checkpoints_stay_so(self):
        network = quantize(Tiny(2, ANCHORS, 0.25, "silu"), Widths(4, 4, zero_points=True))
        calibrate(network, synthetic(), 64, 96)
        zeros = [int(q.zero_point) for q in activation_quantizers(network)]
        self.assertGreater(sum(zeros), 0)
        again = quantize(Tiny(2, ANCHORS, 0.25, "silu"), Widths(**network.widths))
        again.load_state_dict(network.state_dict())
        self.assertEqual([int(q.zero_point) for q in activation_quantizers(again)], zeros)
        older = {k: v for k, v in network.widths.items() if k != "zero_points"}
        signed = quantize(Tiny(2, ANCHORS, 0.25, "silu"), Widths(**older))
        self.assertEqual({q.low for q in activation_quantizers(signed)}, {0, -8})
        self.assertFalse([k for k in signed.state_dict() if k.endswith("zero_point")])


def folder_of(samples: list[dataset.Sample], folder: Path) -> Path:
    """The samples as files."""
    folder.mkdir()
    for k, sample in enumerate(samples):
        cv2.imwrite(str(folder / f"{k:03d}.png"), cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR))
    return folder


class MemoryTest(unittest.TestCase):
    def test_pictures_beyond_the_limit_are_read_at_each_use(self):
        wanted = synthetic(40)
        with tempfile.TemporaryDirectory() as folder:
            path = folder_of(wanted, Path(folder) / "p")
            all_kept, some, none = (dataset.folder(str(path), memory) for memory in (64, 1, 0))
            self.assertEqual(sum(s.kept is None for s in all_kept), 0)
            kept = sum(s.kept is not None for s in some)
            self.assertEqual(kept, 2 ** 20 // wanted[0].image.nbytes)
            self.assertEqual(sum(s.kept is not None for s in none), 0)
            for samples in (all_kept, some, none):
                for sample, original in zip(samples, wanted, strict=True):
                    self.assertTrue(np.array_equal(sample.image, original.image))
            none[0].path.unlink()
            with self.assertRaisesRegex(SystemExit, "cannot read the picture"):
                _ = none[0].image

    def test_a_picture_that_is_missing_is_told_at_once(self):
        with tempfile.TemporaryDirectory() as folder:
            path = folder_of(synthetic(3), Path(folder) / "p")
            samples = [dataset.Sample(None, np.zeros((0, 5)), path / f"{k:03d}.png") for k in range(4)]
            with self.assertRaisesRegex(SystemExit, "003.png"):
                dataset.keep(samples, 0)


class TeacherTest(unittest.TestCase):
    def teacher(self) -> Tiny:
        torch.manual_seed(0)
        network = Tiny(2, ANCHORS, 0.25, "silu").eval()
        with torch.no_grad():
            network.detect.m[0].bias.view(3, -1)[0, 4:] = 3.0  # sees an object in every cell
        return network

    def test_the_teachers_boxes_are_the_labels(self):
        samples = synthetic(3)
        unlabelled.label(self.teacher(), samples, 64, 96)
        for sample in samples:
            self.assertGreater(len(sample.labels), 3)
            self.assertTrue(((sample.labels[:, 1:] >= 0) & (sample.labels[:, 1:] <= 1)).all())

    def test_pictures_without_labels_suffice(self):
        network = self.teacher()
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            path = folder_of(synthetic(20), root / "p")
            for name, own in (("teacher", network), ("float", Tiny(2, ANCHORS, 0.25, "silu"))):
                torch.save({"settings": own.settings, "names": ["a", "b"], "state": own.state_dict(), "input": [64, 96]},
                           root / f"{name}.pt")
            arguments = ["ylb_training", "qat", "--start", str(root / "float.pt"), "--teacher", str(root / "teacher.pt"),
                         "--pictures", str(path), "--out", str(root / "q"),
                         "--epochs", "5", "--batch", "4", "--every", "5", "--rate", "0.05", "--calibration", "8", "--no-bf16",
                         "--memory", "0"]
            with mock.patch("sys.argv", arguments), redirect_stdout(io.StringIO()) as told:
                self.assertEqual(command.main(), 0)
            lines = [line for line in told.getvalue().splitlines() if "teacher" in line]
            losses = [float(line.rsplit(" ", 1)[1]) for line in lines]
            self.assertLess(losses[-1], 0.98 * losses[0])
            _, saved = load(str(root / "q" / "best.pt"))
            self.assertTrue(saved["widths"]["zero_points"])
            for wrong in (["--data", "x.yaml"], None):
                changed = arguments + wrong if wrong else [a for a in arguments if a not in ("--pictures", str(path))]
                with mock.patch("sys.argv", changed), self.assertRaisesRegex(SystemExit, "--pictures"):
                    command.main()

    def test_a_few_pictures_are_too_few(self):
        with self.assertRaisesRegex(SystemExit, "too few"):
            unlabelled.split(synthetic(19))
        train, val = unlabelled.split(synthetic(20))
        self.assertEqual((len(train), len(val)), (18, 2))


if __name__ == "__main__":
    unittest.main()
