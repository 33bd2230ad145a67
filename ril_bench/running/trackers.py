"""Logs the curves of a run to TensorBoard or Weights & Biases, through accelerate.

The run's folder has the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ril_bench.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

PROJECT = "ril-bench"
LOGGED = ("score", "loss", "penalty", "grad_norm", "seconds")


class Tracker:
    """Logs the updates of a run and the rows of its matrix under `name`.

    Args:
        kind: tensorboard or wandb. The files of tensorboard are written to `folder`.
        config: the identity of the run.

    Raises UserError for an unknown kind, or one whose package is not installed.
    """

    def __init__(self, kind: str, folder: Path, name: str, config: Mapping[str, Any]):
        from accelerate.utils import is_tensorboard_available, is_wandb_available

        available = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}
        if kind not in available:
            raise UserError(
                f"no tracker is called {kind!r}", where="--tracker", hint=f"one of {', '.join(available)}"
            )
        if not available[kind]():
            raise UserError(
                f"the tracker {kind} is not installed", where="--tracker", hint=f"pip install {kind}"
            )
        self.kind, self.folder, self.name, self.config = kind, folder, name, config
        self._updates = 0  # counted over all tasks: a tracker needs an axis that only grows
        self._accelerator: Accelerator | None = None

    def begin_after(self, updates: int) -> None:
        """Goes on after the updates that earlier processes of this run have logged."""
        self._updates = updates

    def updated(self, line: Mapping[str, Any]) -> None:
        """Logs one line of log.jsonl under its task and reward."""
        prefix = f"task-{line['task']}-{line['reward']}"
        values = {f"{prefix}/{key}": line[key] for key in LOGGED}
        values |= {f"{prefix}/gain of {name}": gain for name, gain in line.get("gain", {}).items()}
        self._updates += 1
        self._open().log(values, step=self._updates)

    def scored(self, means: Mapping[str, float]) -> None:
        """Logs a row of the reward matrix."""
        self._open().log({f"matrix/{name}": value for name, value in means.items()}, step=self._updates)

    def _open(self) -> Accelerator:
        if self._accelerator is None:
            from accelerate import Accelerator

            self._accelerator = Accelerator(cpu=True, log_with=self.kind, project_dir=self.folder)
            named = {"wandb": {"name": self.name, "dir": str(self.folder)}} if self.kind == "wandb" else {}
            self._accelerator.init_trackers(PROJECT, config=_flat(self.config), init_kwargs=named)
        return self._accelerator

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._accelerator is not None:
            self._accelerator.end_training()


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as trackers need them: one level, {"budget.updates": 30}, lists as text."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value if isinstance(value, int | float | bool | str) else str(value)
    return flat
