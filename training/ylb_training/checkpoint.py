"""Reading of checkpoints: ours, and state dicts of the original YOLOv5."""

import re
from pathlib import Path

import torch

from .network import HEAD, SIZES, STEM, Network


def load(path: str, device: str = "cpu") -> tuple[Network, dict]:
    """A network from a checkpoint of ours, float or quantized, with its averaged weights.

    Returns the network and the rest of the checkpoint (`names`, `input`, `epoch`, `minutes` ...).
    """
    if not Path(path).is_file():
        raise SystemExit(f"error: no checkpoint {path}")
    saved = torch.load(path, map_location=device, weights_only=False)
    if not isinstance(saved, dict) or "settings" not in saved:
        raise SystemExit(f"error: {path} is no checkpoint of this package; see the command 'import'")
    network = Network(**saved["settings"])
    if saved.get("widths"):
        from .quantize import Widths, quantize

        quantize(network, Widths(**saved["widths"]))
    network.load_state_dict(saved["state"])
    return network.to(device).eval(), saved


def from_original(state: dict, activation: str) -> Network:
    """A network with the weights of an original YOLOv5 v6 or v7 checkpoint.

    Args:
        state: parameter name to tensor, as `model.state_dict()` of the original gives it, with the convolutions and
            batch normalizations apart (not fused).
        activation: relu or silu; the state does not tell.

    Raises `SystemExit` when names or shapes are not those of a YOLOv5 detector with three levels.
    """
    state = {re.sub(r"^(module\.)?(model\.)?(?=model\.\d)", "", k): v.float() for k, v in state.items()}
    try:
        width = state[f"{STEM}.conv.weight"].shape[0] / 64
        heads = state[f"{HEAD}.m.0.weight"].shape[0] // 3
        anchors = state[f"{HEAD}.anchors"] * torch.tensor([8.0, 16.0, 32.0]).view(3, 1, 1)
    except KeyError as missing:
        raise SystemExit(f"error: not a YOLOv5 v6/v7 detector with three levels: no parameter {missing}") from None
    bottlenecks = len({k.split(".")[3] for k in state if k.startswith("model.6.m.")})
    for size, (depth, multiple) in SIZES.items():
        if multiple == width and max(round(9 * depth), 1) == bottlenecks:
            network = Network(heads - 5, anchors.reshape(9, 2).tolist(), size, activation)
            break
    else:
        raise SystemExit(f"error: no size of YOLOv5 has width {width} and {bottlenecks} bottlenecks in layer 6")
    wanted = network.state_dict()
    missing = [k for k in wanted if k not in state]
    wrong = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    if missing or wrong:
        raise SystemExit(f"error: parameters missing: {missing[:3]}, of another shape: {wrong[:3]}")
    network.load_state_dict({k: state[k] for k in wanted})
    return network
