"""Export of a quantized network to QONNX or QCDQ."""

import json
import warnings
from pathlib import Path

import onnx
import torch
from brevitas.export import export_onnx_qcdq, export_qonnx
from torch import Tensor, nn

from .network import Detector


class Decoded(nn.Module):
    """A network with its decode: images to boxes and scores, in the form of the network's family."""

    def __init__(self, network: Detector):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.detect.decode(self.network(images))


def _float(model: nn.Module, args: Tensor, export_path: str, opset_version: int, **others) -> None:
    """Batch normalizations are folded into the convolutions, as is usual."""
    torch.onnx.export(model, args, export_path, opset_version=opset_version, **others)


def export(network: Detector, names: list[str], height: int, width: int, path: str, form: str = "qonnx",
           opset: int = 13) -> None:
    """Write `path` and put class names and strides into the metadata of the model.

    Args:
        form: qonnx, or qcdq (which cannot hold binary weights), of a quantized network; float of another.
    """
    model = Decoded(network).cpu().eval()
    write = {"qonnx": export_qonnx, "qcdq": export_onnx_qcdq, "float": _float}[form]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        model(torch.zeros(1, 3, height, width))  # fills the constants of the decode
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(model, args=torch.zeros(1, 3, height, width), export_path=path, opset_version=opset,
              input_names=["images"], output_names=["output"], dynamo=False)
    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, {"names": json.dumps(dict(enumerate(names))), "stride": "32"})
    if form != "qonnx":
        onnx.checker.check_model(proto)
    onnx.save(proto, path)
