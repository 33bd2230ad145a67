"""What a run stores to resume from: "start" at the start of a task, "latest" now and then during it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ril_bench.errors import UserError
from ril_bench.running import accounts
from ril_bench.running.training import Training
from ril_bench.storage.run_folder import RunFolder

START, LATEST = "start", "latest"


def save(folder: RunFolder, name: str, training: Training) -> None:
    """Stores how far a training is. Raises UserError where a method or a tuner has a state that cannot be stored."""
    state = {
        "step": training.step,
        "update": training.update,
        "ended": training.ended,
        "seconds": training.seconds,
        "calls": accounts.as_rows(training.calls),
        "watched_seconds": training.watched_seconds,
        "watched_calls": accounts.as_rows(training.watched_calls),
        "adapters": training.model.adapter_state(),
        "optimizers": {j: optimizer.state_dict() for j, optimizer in training.optimizers.items()},
        "method": training.method.state_dict(),
        "tuner": training.tuner.state_dict(),
    }
    try:
        folder.save_checkpoint(name, state)
    except TypeError as error:
        raise UserError(
            f"what a resume needs cannot be stored: {error}",
            where="state_dict of the method or the tuner",
            hint="give tensors and plain values (numbers, text, lists, dicts)",
        ) from error


def newest(folder: RunFolder) -> dict[str, Any] | None:
    """The state that was stored last, None where there is none; UserError for a damaged file."""
    found = [folder.load_checkpoint(name) for name in (START, LATEST)]
    states = [state for state in found if state is not None]
    return max(states, key=lambda state: (state["step"], state["update"], state["ended"]), default=None)


def newest_file(folder: RunFolder) -> Path | None:
    """The file of the newest checkpoint, None where there is none."""
    files = [folder.checkpoint(name) for name in (LATEST, START)]
    return next((file for file in files if file.exists()), None)


def restore(training: Training, state: Mapping[str, Any]) -> None:
    """Puts a training that has just begun to where `state` was stored. Adapters and method have been restored."""
    for j, optimizer in training.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][j])
    training.tuner.load_state_dict(on_device(training.model.device, state["tuner"]))
    training.update, training.ended = state["update"], state["ended"]
    training.seconds, training.calls = state["seconds"], accounts.from_rows(state["calls"])
    training.watched_seconds = state["watched_seconds"]
    training.watched_calls = accounts.from_rows(state["watched_calls"])


def on_device(device: torch.device, tree: Any) -> Any:
    """The tree with its tensors on a device."""
    if isinstance(tree, Tensor):
        return tree.to(device)
    if isinstance(tree, Mapping):
        return {key: on_device(device, value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(on_device(device, value) for value in tree)
    return tree
