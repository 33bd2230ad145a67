"""The checkpoints of a run: "start" at the start of a task, "latest" during and after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ril_bench.errors import NumericalError, UserError
from ril_bench.running import accounts, consolidation
from ril_bench.running.hook_results import stored_state
from ril_bench.running.training import Training
from ril_bench.storage.run_folder import RunFolder

START, LATEST = "start", "latest"
#: raised when older checkpoints cannot be restored
FORMAT = 5


def save(folder: RunFolder, name: str, training: Training, micro_batch: int) -> None:
    """Stores the state of a training.

    micro_batch: samples at once, if memory ran out in this run; else 0.

    Raises MethodError where the state of the method or of the tuner cannot be stored, and NumericalError for weights
    of an adapter that are not finite: so the newest checkpoint is always one from which the run can go on.
    """
    _refuse_infinite(training)
    state = {
        "format": FORMAT,
        "step": training.step,
        "update": training.update,
        "ended": training.ended,
        "micro_batch": micro_batch,
        "seconds": training.seconds,
        "calls": accounts.as_rows(training.calls),
        "peak_memory": training.peak_memory,
        "trainable_bytes": training.trainable_bytes,
        "watched_seconds": training.watched_seconds,
        "watched_calls": accounts.as_rows(training.watched_calls),
        "adapters": training.model.adapter_state(),
        "optimizer": None if training.ended else training.optimizer.state_dict(),
        "criterion": training.criterion.state() if training.criterion else [],
        "consolidation": consolidation.state_of(training),
        "method": stored_state(training.method),
        "tuner": stored_state(training.tuner),
    }
    folder.save_checkpoint(name, state)


def _refuse_infinite(training: Training) -> None:
    model = training.model
    for name in model.adapters:
        if not torch.stack(
            [p.detach().isfinite().all() for p in model.adapter_parameters(name).values()]
        ).all():
            raise NumericalError(
                f"weights of the adapter {name} are not finite",
                where=f"task {training.step}, after {'end_task' if training.ended else f'update {training.update}'}",
                hint="find the hook of the method that sets them",
            )


def newest(folder: RunFolder) -> dict[str, Any] | None:
    """The newest stored state, None where there is none.

    Raises UserError for a damaged file, and for one that another version of ril-bench wrote.
    """
    found = [folder.load_checkpoint(name) for name in (START, LATEST)]
    states = [state for state in found if state is not None]
    if any(state.get("format") != FORMAT for state in states):
        raise UserError(
            "another version of ril-bench wrote the checkpoint of this run, so the run cannot go on",
            where=str(folder.path),
            hint="delete the run's folder and run it again, or continue it with the version in its run.json",
        )
    return max(states, key=lambda state: (state["step"], state["update"], state["ended"]), default=None)


def newest_file(folder: RunFolder) -> Path | None:
    """The file of the newest checkpoint, None where there is none."""
    files = [folder.checkpoint(name) for name in (LATEST, START)]
    return next((file for file in files if file.exists()), None)


def restore(training: Training, state: Mapping[str, Any]) -> None:
    """Restores optimizer, tuner, gains, position and counts of a new training from `state`.

    The caller has already restored the adapters and the method.
    """
    if not state["ended"]:
        training.optimizer.load_state_dict(state["optimizer"])
    if training.criterion:
        training.criterion.load(state["criterion"])
    training.tuner.load_state_dict(on_device(training.model.device, state["tuner"]))
    training.update, training.ended = state["update"], state["ended"]
    training.seconds, training.calls = state["seconds"], accounts.from_rows(state["calls"])
    training.peak_memory, training.watched_seconds = state["peak_memory"], state["watched_seconds"]
    training.watched_calls = accounts.from_rows(state["watched_calls"])
    training.trainable_bytes = state.get("trainable_bytes", 0)


def on_device(device: torch.device, tree: Any) -> Any:
    """A tree with its tensors moved to a device."""
    if isinstance(tree, Tensor):
        return tree.to(device)
    if isinstance(tree, Mapping):
        return {key: on_device(device, value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(on_device(device, value) for value in tree)
    return tree
