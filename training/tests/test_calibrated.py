"""Tests of training from what `yolo-lowbit convert --calibrate --keep` chose."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.test_import import SIZE, settled
from tests.test_training import ANCHORS, synthetic
from ylb_training import calibrated, float_onnx
from ylb_training.blocks import ConvBlock
from ylb_training.export import export
from ylb_training.network import Network
from ylb_training.quantize import activation_quantizers

STEP = 0.04


def kept(network: Network, file: str, other: str = "") -> None:
    """Write a file of the command's form: weights of 4 bits in the body, else 8, grids of 8 bits; `other` has another step."""
    export(network, ["a", "b"], *SIZE, file, "float")
    model = onnx.load(file)
    stored = {t.name: t for t in model.graph.initializer}
    nodes, renamed = [], {}

    def constant(name: str, value: np.ndarray) -> str:
        model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def chain(source: str, name: str, scale: str, zero: str, high: int, quantize: bool, axis: int | None) -> str:
        if quantize:
            nodes.append(helper.make_node("QuantizeLinear", [source, scale, zero], [f"{name}_q"]))
            source = f"{name}_q"
        if high not in (127, 255):
            kind = np.uint8 if quantize else np.int8
            low = constant(f"{name}_low", np.array(0 if quantize else -high, kind))
            nodes.append(helper.make_node("Clip", [source, low, constant(f"{name}_high", np.array(high, kind))], [f"{name}_c"]))
            source = f"{name}_c"
        axes = {} if axis is None else {"axis": axis}
        nodes.append(helper.make_node("DequantizeLinear", [source, scale, zero], [f"{name}_d"], **axes))
        return f"{name}_d"

    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type == "Conv":
            weight = numpy_helper.to_array(stored[node.input[1]])
            high = 127 if len(weight) == 21 or weight.shape[1] == 3 else 7
            steps = (np.abs(weight).reshape(len(weight), -1).max(1) / high).astype(np.float32)
            codes = np.round(weight / steps.reshape(-1, 1, 1, 1)).astype(np.int8)
            name = node.output[0] + "_weights"
            zeros = constant(f"{name}_zero", np.zeros(len(weight), np.int8))
            node.input[1] = chain(constant(f"{name}_codes", codes), name, constant(f"{name}_scale", steps), zeros, high, False, 0)
        nodes.append(node)
        if node.op_type == "Relu" or node.op_type == "Add" and "model.24" not in node.name:
            name = node.output[0]
            step = STEP * 2 if other and other in node.name else STEP
            scale = constant(f"{name}_scale", np.array(step, np.float32))
            renamed[name] = chain(name, name, scale, constant(f"{name}_zero", np.array(0, np.uint8)), 255, True, None)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.opset_import[0].version = 19  # the first whose quantizers the evaluator of ONNX knows
    onnx.checker.check_model(model)
    onnx.save(model, file)


class CalibratedTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = str(Path(folder.name) / "kept.onnx")
        torch.manual_seed(0)
        self.network = settled(Network(2, ANCHORS))

    def test_the_network_is_that_of_the_file(self):
        kept(self.network, self.file)
        model = onnx.load(self.file)
        network = calibrated.start(self.network, self.file, synthetic(), *SIZE).eval()
        bits = {name: int(m.weight_quant.tensor_quant.bits) for name, m in network.named_modules() if hasattr(m, "weight_quant")}
        self.assertEqual({name for name, b in bits.items() if b == 8}, {"model.0.conv", *(f"model.24.m.{k}" for k in range(3))})
        self.assertEqual(set(bits.values()), {4, 8})
        for quantizer in activation_quantizers(network):
            if not quantizer.fixed:
                self.assertAlmostEqual(float(quantizer.log_step.exp()), STEP, places=6)
                self.assertEqual((quantizer.low, quantizer.high), (0, 255))
        file = calibrated.File(self.file)
        for name, node in file.convolutions().items():
            conv = dict(network.named_modules())[name]
            codes, _, _ = file.weights(node)
            quantizer = conv.weight_quant.tensor_quant
            self.assertTrue(np.array_equal((conv.weight / quantizer.log_step.exp()).round().detach().numpy(), codes), name)
        # What all blocks put out, beside the file's; next to a step, 32-bit floats may give the next code.
        picture = np.random.default_rng(2).integers(0, 256, (1, 3, *SIZE)).astype(np.float32) / 255
        blocks = {name: m for name, m in network.named_modules() if isinstance(m, ConvBlock)}
        codes = {}
        for name, block in blocks.items():
            block.register_forward_hook(lambda m, x, y, name=name: codes.update({name: (y / STEP).round().numpy()}))
        with torch.no_grad():
            network.double()(torch.from_numpy(picture).double())
        convs = file.convolutions()
        outputs = [file.grid(convs[f"{name}.conv"].output[0]).output for name in blocks]
        values = ReferenceEvaluator(model, new_ops=float_onnx.OPERATORS).run(outputs, {"images": picture})
        other = {name: float((codes[name] != np.round(value / STEP)).mean()) for name, value in zip(blocks, values)}
        self.assertLess(max(other["model.0"], other["model.1"]), 0.002, other)
        self.assertLess(sum(other.values()) / len(other), 0.25, other)

    def test_files_of_other_networks_are_refused(self):
        kept(self.network, self.file)
        with self.assertRaisesRegex(SystemExit, "was it made from this network"):
            calibrated.start(Network(2, ANCHORS, "m"), self.file, synthetic(), *SIZE)
        with self.assertRaisesRegex(SystemExit, "of shape"):
            calibrated.start(Network(2, ANCHORS, "s"), self.file, synthetic(), *SIZE)

    def test_grids_of_a_join_that_differ_are_refused(self):
        kept(self.network, self.file, "model.18/")
        with self.assertRaisesRegex(SystemExit, "with which it is joined"):
            calibrated.start(self.network, self.file, synthetic(), *SIZE)

    def test_zero_points_where_nothing_is_negative_are_refused(self):
        kept(self.network, self.file)
        model = onnx.load(self.file)
        zero = next(t for t in model.graph.initializer if t.name.endswith("Relu_output_0_zero"))
        zero.CopyFrom(numpy_helper.from_array(np.array(3, np.uint8), zero.name))
        self.assertEqual(zero.data_type, TensorProto.UINT8)
        onnx.save(model, self.file)
        with self.assertRaisesRegex(SystemExit, "zero point"):
            calibrated.start(self.network, self.file, synthetic(), *SIZE)


if __name__ == "__main__":
    unittest.main()
