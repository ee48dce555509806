"""Reading of checkpoints of ours."""

from pathlib import Path

import torch

from .families import build
from .network import Detector


def load(path: str, device: str = "cpu") -> tuple[Detector, dict]:
    """A network from a checkpoint of ours, float or quantized, with its averaged weights.

    Returns the network and the rest of the checkpoint (`names`, `input`, `epoch`, `minutes` ...).
    """
    if not Path(path).is_file():
        raise SystemExit(f"error: no checkpoint {path}")
    saved = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(saved, dict) or "settings" not in saved:
        raise SystemExit(f"error: {path} is no checkpoint of this package; see the command 'import'")
    network = build(saved["settings"])
    if saved.get("widths"):
        from .quantize import Widths, quantize

        quantize(network, Widths(**saved["widths"]))
    network.load_state_dict(saved["state"])
    return network.to(device).eval(), saved
