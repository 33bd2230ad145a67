"""Published checkpoints: read without running anything that they hold, and put into a network to the last key."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ril_bench.errors import UserError

State = Mapping[str, Tensor]
M = TypeVar("M", bound=nn.Module)
_SHOWN = 5  # of the keys that do not fit


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key: safetensors, or torch's format, where they may stand under `state_dict`.

    Raises UserError for a file that is no checkpoint or holds more than tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            f"this is no checkpoint that is safe to read: {str(error).partition(chr(10))[0]}",
            where=str(path),
            hint="download it again; files that hold code are never loaded",
        ) from error
    state = found.get("state_dict", found) if isinstance(found, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError("this checkpoint is not a table of tensors", where=str(path))
    return dict(state)


def filled(network: M, state: State, where: object, device: torch.device | str = "cpu") -> M:
    """The network with these weights: fp32, frozen, in evaluation mode.

    Raises UserError where a key is missing, left over or of another shape; `where` says which file it was.
    """
    wanted = network.state_dict()
    faults = [
        *(f"{key} is missing" for key in wanted if key not in state),
        *(f"{key} is left over" for key in state if key not in wanted),
        *(
            f"{key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
            for key, value in wanted.items()
            if key in state and state[key].shape != value.shape
        ),
    ]
    if faults:
        more = f", and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise UserError(
            f"these weights are not a {type(network).__name__}'s: {', '.join(faults[:_SHOWN])}{more}",
            where=str(where),
            hint="the file is another model's, or another version of it",
        )
    float32 = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    network.load_state_dict(float32, assign=True)
    return network.to(device).eval().requires_grad_(False)
