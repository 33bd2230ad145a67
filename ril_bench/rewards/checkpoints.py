"""Reads published checkpoints, without running code from them, and loads networks from them, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ril_bench.errors import UserError
from ril_bench.remote.weights import refuse_pointer

State = Mapping[str, Tensor]
M = TypeVar("M", bound=nn.Module)
_SHOWN = 5  # how many of the keys that do not fit an error names


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, from safetensors or torch's format.

    In torch's format they may be in a dict called `state_dict`. Raises UserError for a file that is not a
    checkpoint, or that has more than tensors and plain values.
    """
    refuse_pointer(path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # the readers raise errors of many kinds for a broken file
        raise UserError(
            f"this checkpoint cannot be read safely: {str(error).partition(chr(10))[0]}",
            where=str(path),
            hint="download it again; a file with code in it is never loaded",
        ) from error
    state = found.get("state_dict", found) if isinstance(found, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError("this checkpoint is not a table of tensors", where=str(path))
    return dict(state)


def filled(network: M, state: State, where: object, device: torch.device | str = "cpu") -> M:
    """The network with these weights: fp32, frozen, in evaluation mode.

    Raises UserError where a key is missing, unexpected or of another shape; `where` is the file, for the error.
    """
    wanted = network.state_dict()
    faults = [
        *(f"{key} is missing" for key in wanted if key not in state),
        *(f"{key} is unexpected" for key in state if key not in wanted),
        *(
            f"{key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
            for key, value in wanted.items()
            if key in state and state[key].shape != value.shape
        ),
    ]
    if faults:
        more = f", and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise UserError(
            f"these weights do not fit a {type(network).__name__}: {', '.join(faults[:_SHOWN])}{more}",
            where=str(where),
            hint="the file belongs to another model, or to another version of it",
        )
    float32 = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    network.load_state_dict(float32, assign=True)
    return network.to(device).eval().requires_grad_(False)
