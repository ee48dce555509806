#!/usr/bin/env python3
"""Runs what `convert --calibrate … --keep KEPT.onnx` wrote in ONNX Runtime, and counts where its codes and outputs are others than
those of the `.ylb` file. ONNX Runtime computes in 32-bit floats, so that a value within their rounding of a step can get another
code, and what reads it others in turn. So there are two counts: of each code by itself, where every layer reads the codes of the
`.ylb` file, of which fewer than LIMIT may be others, and by one at most; and of the network as it runs from the picture on.

    YOLO_LOWBIT=target/release/yolo-lowbit python3 scripts/compare-onnxruntime.py kept.onnx model.ylb photos/*.jpg

Pictures may also be .npy files of bytes, [1, 3, height, width]. Needs onnx, onnxruntime and numpy, and Pillow for other pictures;
without them it says so and succeeds, unless CI=true.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    if not all(name.endswith(".npy") for name in sys.argv[3:]):
        from PIL import Image
except ImportError as error:
    print(f"SKIPPED: the comparison with ONNX Runtime needs {error.name}", file=sys.stderr)
    sys.exit(1 if os.environ.get("CI") == "true" else 0)

LIMIT = 1e-4
"""Largest share of other codes."""
OURS = "/ours"


def session(path: Path, names: list[str], apart: bool) -> tuple[onnxruntime.InferenceSession, dict]:
    """The file in ONNX Runtime, not optimized, with more outputs; and what writes each tensor. Apart, whoever reads codes reads
    those of an input that is called like them."""
    model = onnx.load(path)
    for node in model.graph.node if apart else []:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = name + OURS
    if apart:
        kind = onnx.TensorProto.UINT8
        model.graph.input.extend(helper.make_tensor_value_info(name + OURS, kind, None) for name in names)
    known = {output.name for output in model.graph.output}
    producers = {name: node for node in model.graph.node for name in node.output}
    model.graph.output.extend(
        helper.ValueInfoProto(name=name) for name in names if name in producers and name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    constants = {constant.name: constant for constant in model.graph.initializer}
    return (onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]),
            {name: (node, constants) for name, node in producers.items()})


def codes_of(value: np.ndarray, node: onnx.NodeProto, constants: dict) -> np.ndarray | None:
    """The codes behind a tensor: itself, or what its numbers are on the grid of the quantizer that made them."""
    if value.dtype.kind in "iu":
        return value.astype(np.int64)
    if node.op_type != "DequantizeLinear":
        return None
    scale, zero = (numpy_helper.to_array(constants[name]).astype(np.float64) for name in node.input[1:3])
    return (np.round(value.astype(np.float64) / scale) + zero).astype(np.int64)


def pixels_of(picture: Path, size: list[int]) -> np.ndarray:
    """Bytes of a picture, stretched to the size: what it shows does not matter here."""
    if picture.suffix == ".npy":
        return np.load(picture)
    pixels = np.asarray(Image.open(picture).convert("RGB").resize(size[::-1]), np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Compare a kept ONNX file with its .ylb file in ONNX Runtime.")
    parser.add_argument("onnx", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    args = parser.parse_args()
    input_info = onnx.load(args.onnx, load_external_data=False).graph.input[0]
    size = [dim.dim_value for dim in input_info.type.tensor_type.shape.dim[2:]]
    kind = helper.tensor_dtype_to_np_dtype(input_info.type.tensor_type.elem_type)
    counts = {True: Count(), False: Count()}
    sessions = {}
    with tempfile.TemporaryDirectory() as folder:
        tensor, raw, codes = (Path(folder) / name for name in ("in.npy", "raw.npz", "codes.npz"))
        for picture in args.pictures:
            pixels = pixels_of(picture, size)
            np.save(tensor, pixels)
            command = [os.environ.get("YOLO_LOWBIT", "yolo-lowbit"), "run", args.model, "--tensor", tensor]
            subprocess.run([*command, "--raw", raw, "--codes", codes], check=True, stdout=subprocess.DEVNULL)
            own_codes, own_raw = np.load(codes), np.load(raw)
            for apart, count in counts.items():
                if apart not in sessions:
                    sessions[apart] = session(args.onnx, own_codes.files, apart)
                run, producers = sessions[apart]
                feed = {input_info.name: pixels if kind == np.uint8 else (pixels / np.float32(255)).astype(kind)}
                if apart:
                    feed |= {name + OURS: own_codes[name].astype(np.uint8) for name in own_codes.files}
                names = [output.name for output in run.get_outputs()]
                count.add(dict(zip(names, run.run(None, feed))), producers, own_codes, own_raw)
    apart, whole = counts[True], counts[False]
    if not apart.codes:
        print("error: no tensor of codes has a name of the ONNX file", file=sys.stderr)
        return 1
    print(f"of codes before: {apart}\nof the picture: {whole}")
    return int(apart.flips / apart.codes > LIMIT or apart.worst > 1)


class Count:
    """What is other in ONNX Runtime."""

    def __init__(self):
        self.codes, self.flips, self.worst, self.outputs = 0, 0, 0, 0.0

    def add(self, found: dict, producers: dict, own_codes, own_raw) -> None:
        """Counts a picture."""
        for name in own_codes.files:
            theirs = codes_of(found[name], *producers[name]) if name in found else None
            if theirs is not None:
                difference = np.abs(own_codes[name].astype(np.int64) - theirs.reshape(own_codes[name].shape))
                self.codes, self.flips = self.codes + difference.size, self.flips + int((difference > 0).sum())
                self.worst = max(self.worst, int(difference.max()))
        for name in own_raw.files:
            if name in found and found[name].size == own_raw[name].size:
                theirs = found[name].reshape(own_raw[name].shape).astype(np.float64)
                self.outputs = max(self.outputs, float(np.abs(own_raw[name] - theirs).max()))

    def __str__(self) -> str:
        share = self.flips / max(self.codes, 1)
        return (f"{self.flips} of {self.codes} codes are others ({share:.1e}), by {self.worst} at most; outputs differ by "
                f"{self.outputs:.3g} at most")


if __name__ == "__main__":
    sys.exit(main())
