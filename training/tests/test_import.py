"""Tests of what is taken from elsewhere: checkpoints that are not trusted, exports in floats."""

import io
import os
import pickle
import sys
import tempfile
import types
import unittest
import zipfile
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import cv2
import onnx
import torch
from torch import nn

from tests.test_training import ANCHORS, synthetic
from ylb_training import __main__ as command
from ylb_training import float_onnx, original, pickled
from ylb_training.checkpoint import load
from ylb_training.export import export
from ylb_training.network import Network
from ylb_training.quantize import reestimate
from ylb_training.yolov8 import Network8

SIZE = (64, 96)


def settled(network: nn.Module) -> nn.Module:
    """The network with batch normalizations that do something."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    reestimate(network, [torch.rand(4, 3, *SIZE)])  # else the signal fades from layer to layer
    return network.eval()


def foreign(network: nn.Module, file: str, **attributes) -> None:
    """Save a network as the model of a repository whose modules are gone afterwards."""
    kind = type("DetectionModel", (nn.Module,), {"__module__": "models.yolo"})
    sys.modules["models"], sys.modules["models.yolo"] = types.ModuleType("models"), types.ModuleType("models.yolo")
    sys.modules["models.yolo"].DetectionModel = kind
    try:
        model = kind()
        model.model = network.model
        for name, value in attributes.items():
            setattr(model, name, value)
        torch.save({"epoch": 3, "ema": None, "model": model, "date": "today", "opt": {"lr": 0.1}}, file)
    finally:
        del sys.modules["models"], sys.modules["models.yolo"]


def touch(path: str) -> str:
    """What a hostile file would have called."""
    Path(path).touch()
    return path


class Hostile:
    """An object whose pickle is a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class CheckpointTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.file = str(Path(self.folder.name) / "best.pt")

    def test_checkpoints_are_read_without_their_classes(self):
        for network, kind in ((Network(2, ANCHORS, "n", "silu"), "silu"), (Network8(2, "n", "relu"), "relu")):
            settled(network)
            foreign(network, self.file, names={1: "b", 0: "a"}, stride=torch.tensor([8.0, 16, 32]))
            with self.assertRaises(ModuleNotFoundError):
                torch.load(self.file, weights_only=False)
            found = original.read(self.file)
            self.assertEqual((found.activation, found.names), (kind, ("a", "b")))
            self.assertNotIn("models", sys.modules)
            again = original.network(found.state, found.activation).eval()
            x = torch.rand(1, 3, *SIZE)
            for a, b in zip(network(x), again(x), strict=True):
                self.assertTrue(torch.equal(a, b))

    def test_the_command_writes_a_checkpoint_and_another_activation_is_trained(self):
        output, folder = str(Path(self.folder.name) / "mine.pt"), Path(self.folder.name)

        def call(*arguments: str) -> str:
            with mock.patch("sys.argv", ["ylb_training", *arguments]), redirect_stdout(io.StringIO()) as told:
                self.assertEqual(command.main(), 0)
            return told.getvalue()

        foreign(settled(Network(2, ANCHORS, "n", "silu")), self.file, names=["a", "b"])
        self.assertIn("v5, 2 classes, silu", call("import", self.file, "--size", "64x96", "-o", output))
        network, saved = load(output)
        self.assertEqual((saved["names"], saved["input"], network.settings["activation"]), (["a", "b"], [64, 96], "silu"))
        with self.assertRaisesRegex(SystemExit, "has silu, not relu"):
            call("import", self.file, "--activation", "relu", "-o", output)
        for kind in ("images", "labels"):
            (folder / kind).mkdir()
        for k, sample in enumerate(synthetic(2)):
            cv2.imwrite(str(folder / "images" / f"{k}.png"), sample.image)
            (folder / "labels" / f"{k}.txt").write_text(" ".join(map(str, sample.labels[0])).replace(".0 ", " ", 1))
        (folder / "data.yaml").write_text("train: images\nval: images\nnames: [a, b]\n")
        call("train", "--start", output, "--activation", "relu", "--data", str(folder / "data.yaml"), "--size", "64x96", "--epochs", "1",
             "--batch", "2", "--no-bf16", "--out", str(folder / "run"))
        trained, _ = load(str(folder / "run" / "best.pt"))
        self.assertEqual(trained.settings["activation"], "relu")
        near = (trained.model[3].conv.weight - network.model[3].conv.weight).abs().max()
        self.assertLess(float(near), 0.01)
        foreign(Network(2, ANCHORS), self.file)
        with self.assertRaisesRegex(SystemExit, "give --data"):
            call("import", self.file, "-o", output)

    def test_networks_that_do_more_than_detect_are_refused(self):
        state = Network(2, ANCHORS).state_dict()
        for beyond in ("model.24.proto.cv1.conv.weight", "model.24.cv4.0.weight"):
            with self.assertRaisesRegex(SystemExit, "masks"):
                original.network(state | {beyond: torch.zeros(1)}, "silu")
        original.network(state | {"model.24.anchor_grid": torch.zeros(3)}, "silu")

    def test_half_precision_and_parameters_that_share_their_numbers(self):
        network = settled(Network(2, ANCHORS)).half()
        foreign(network, self.file)
        state = original.read(self.file).state
        self.assertEqual(state["model.3.conv.weight"].dtype, torch.float16)
        self.assertTrue(torch.equal(state["model.3.conv.weight"], network.model[3].conv.weight))

    def test_what_a_file_asks_for_is_never_run(self):
        mark = str(Path(self.folder.name) / "mark")
        torch.save({"model": Hostile(touch, mark)}, self.file)
        content = pickled.read(self.file)
        self.assertEqual((content["model"].kind, content["model"].arguments), ("touch", (mark,)))
        self.assertFalse(Path(mark).exists())
        with self.assertRaisesRegex(SystemExit, "holds no network"):
            original.read(self.file)
        # The same file in the usual reader: the test would see a call.
        torch.load(self.file, weights_only=False)
        self.assertTrue(Path(mark).exists())

    def test_files_made_to_do_harm_are_refused(self):
        mark = str(Path(self.folder.name) / "mark")
        for function, arguments, name in ((os.system, (f"touch {mark}",), f"{os.name}.system"), (eval, ("1",), "builtins.eval"),
                                          (exec, ("1",), "builtins.exec"), (__import__, ("this",), "builtins.__import__"),
                                          (pickle.loads, (b"",), "_?pickle.loads")):
            torch.save({"model": Hostile(function, *arguments)}, self.file)
            with self.assertRaisesRegex(SystemExit, f"asks for {name}"):
                pickled.read(self.file)
        self.assertFalse(Path(mark).exists())

    def test_tensors_lie_within_what_is_stored(self):
        torch.save({"weight": torch.zeros(4, 5)}, self.file)
        with zipfile.ZipFile(self.file) as archive:
            parts = {info.filename: archive.read(info) for info in archive.infolist()}
        data = next(name for name in parts if name.endswith("/data/0"))
        for damage, message in ((lambda p: p.update({data: p[data][:-4]}), "another size"),
                                (lambda p: p.pop(data), "damaged")):
            changed = dict(parts)
            damage(changed)
            with zipfile.ZipFile(self.file, "w") as archive:
                for name, content in changed.items():
                    archive.writestr(name, content)
            with self.assertRaisesRegex(SystemExit, message):
                pickled.read(self.file)
        pickled_part = next(name for name in parts if name.endswith("/data.pkl"))
        with zipfile.ZipFile(self.file, "w") as archive:  # would take 64 GB
            for name, content in parts.items():
                archive.writestr(name, b"\x80\x02}r\xff\xff\xff\xff." if name == pickled_part else content)
        with self.assertRaisesRegex(SystemExit, "damaged: an object is put under the number 4294967295"):
            pickled.read(self.file)
        storage = torch.zeros(20)
        self.assertEqual(tuple(pickled._tensor(storage, 0, (4, 5), (5, 1)).shape), (4, 5))
        for offset, shape, stride in ((1, (4, 5), (5, 1)), (0, (4, 5), (6, 1)), (-1, (1,), (1,)), (0, (2,), (-1,)), (0, (2,), ()), (0, (99,), (0,))):
            with self.assertRaises(SystemExit):
                pickled._tensor(storage, offset, shape, stride)

    def test_other_files_are_refused_with_a_sentence(self):
        Path(self.file).write_bytes(b"\x80\x02}q\x00.")
        with self.assertRaisesRegex(SystemExit, "zip archives"):
            pickled.read(self.file)
        with self.assertRaisesRegex(SystemExit, "cannot read"):
            pickled.read(self.file + "x")
        torch.save({"epoch": 3}, self.file)
        with self.assertRaisesRegex(SystemExit, "holds no network"):
            original.read(self.file)
        fused = {k: v for k, v in Network(2, ANCHORS).state_dict().items() if ".bn." not in k}
        with self.assertRaisesRegex(SystemExit, "convert FILE.onnx --calibrate FOLDER"):
            original.network({"model.0.conv.weight": torch.zeros(16, 3, 3, 3)}, "silu")
        with self.assertRaisesRegex(SystemExit, "fused"):
            original.network(fused, "silu")


class ExportTest(unittest.TestCase):
    def export(self, network: nn.Module, file: str) -> None:
        export(network, ["a", "b"], *SIZE, file, "float")

    def test_exports_in_floats_become_the_network_they_were(self):
        for network in (Network(2, ANCHORS, "n", "silu"), Network8(2, "n", "relu")):
            settled(network)
            with tempfile.TemporaryDirectory() as folder, torch.no_grad():
                file = str(Path(folder) / "float.onnx")
                self.export(network, file)
                proto = onnx.load(file)
                for names in ("of the nodes", "gone"):
                    if names == "gone":
                        for k, node in enumerate(proto.graph.node):
                            node.name = f"n{k}"
                        onnx.save(proto, file)
                    made, found = float_onnx.network(file, synthetic(), *SIZE)
                    self.assertEqual((found.activation, found.names), (network.settings["activation"], ("a", "b")))
                    x = torch.rand(1, 3, *SIZE)
                    for a, b in zip(network(x), made.eval()(x), strict=True):
                        self.assertLess(float((a - b).abs().max()), 1e-3 * float(a.abs().max()), names)
                    # In training, batch normalization takes the statistics of the pictures, which are now those of the layers.
                    norm = made.model[1].bn
                    self.assertGreater(float((norm.running_var - 1).abs().max()), 0.01)

    def test_a_network_that_computes_something_else_is_refused(self):
        network = settled(Network(2, ANCHORS, "n", "silu"))
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            file = str(Path(folder) / "float.onnx")
            self.export(network, file)
            proto = onnx.load(file)
            pool = next(n for n in proto.graph.node if n.op_type == "MaxPool")
            for attribute in pool.attribute:
                if attribute.name == "kernel_shape":
                    attribute.ints[:] = [1, 1]
                elif attribute.name == "pads":
                    attribute.ints[:] = [0, 0, 0, 0]
            onnx.save(proto, file)
            with self.assertRaisesRegex(SystemExit, "something else"):
                float_onnx.network(file, synthetic(), *SIZE)
            with self.assertRaisesRegex(SystemExit, "--pictures"):
                float_onnx.network(file, [], *SIZE)

    def test_names_of_nodes_are_those_of_modules(self):
        for node, name in (("/model.0/conv/Conv", "model.0.conv"), ("/model.2/m/m.0/cv1/conv/Conv", "model.2.m.0.cv1.conv"),
                           ("/model.22/cv2.0/cv2.0.2/Conv", "model.22.cv2.0.2"), ("/model/model.24/m.0/Conv", "model.24.m.0")):
            self.assertEqual(float_onnx.module_name(node), name)


if __name__ == "__main__":
    unittest.main()
