"""Watches a method from outside while it runs.

Records which frozen weights change, which get gradients, and what a method uses without being allowed to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ril_bench.conformance.suite import CheckFailed
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.methods import Method
from ril_bench.running.progress import Reporter
from ril_bench.tuners.base import Task

#: the attributes of a task that a method may read
SHOWN = ("index", "name", "key", "sampler", "guidance", "reward", "states")
#: the attributes that a method may use only while their task is the current one
REWARDS = ("reward", "states")
#: the largest number of states that a task yields to a method in a check; more of them would show nothing more
STATES = 4


class Guard:
    """Wraps a method, passes every call on, and records what the contract does not allow.

    Attributes:
        fault: the first thing that the method used and must not use; None where there is none.
    """

    def __init__(self, method: Method):
        self.method = self.__wrapped__ = method
        self.fault: CheckFailed | None = None
        self._now = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["method"], name)

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._now = task.index
        self.method.start_task(_ShownTask(task, self), model)

    def start_consolidation(self, task: Task, model: DiffusionModel) -> None:
        self.method.start_consolidation(_ShownTask(task, self), model)

    def end_task(self, task: Task, model: DiffusionModel) -> None:
        self._now = task.index
        self.method.end_task(_ShownTask(task, self), model)

    def permits(self, index: int) -> bool:
        return self.method.oracle or index == self._now

    def record(self, what: str, hint: str) -> None:
        self.fault = self.fault or CheckFailed(what, hint)


class _ShownTask:
    def __init__(self, task: Task, guard: Guard):
        self._task, self._guard = task, guard

    def __getattr__(self, name: str) -> Any:
        task, guard = self.__dict__["_task"], self.__dict__["_guard"]
        if name not in SHOWN:
            guard.record(f"it reads task.{name}", hint=f"a method may read {', '.join(SHOWN)}")
        if name in REWARDS and not guard.permits(task.index):
            guard.record(
                f"it uses the reward {task.name!r} after that task is over",
                hint="compute what you need in end_task and keep tensors; or state oracle = True",
            )
        value = getattr(task, name)
        return (lambda model, n: value(model, min(n, STATES))) if name == "states" else value


class Stopped(BaseException):
    """Simulates a kill in the middle of a task: no failure, so not an Exception."""


class Watch(Reporter):
    """Inspects the adapters after each update; the run itself watches the pretrained weights.

    Args:
        stop: (task, update): raises Stopped after this update of this task; None to stop nowhere.

    Attributes:
        moved: frozen adapters whose weights changed inside a task.
        graded: frozen adapters that got a gradient.
    """

    def __init__(self, model: DiffusionModel, stop: tuple[int, int] | None = None):
        super().__init__(quiet=True)
        self.model, self.stop = model, stop
        self._left: int | None = None  # updates until the stop, in its task
        self.moved: set[str] = set()
        self.graded: set[str] = set()
        self._frozen: dict[str, str] = {}

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self._frozen = {name: _digest(self.model.adapter_parameters(name)) for name in self._idle()}
        in_task = self.stop is not None and name.startswith(f"task {self.stop[0]}:")
        self._left = self.stop[1] - done if self.stop and in_task else None

    def advance(self, units: int = 1, note: str = "") -> None:
        for name in self._idle():
            weights = self.model.adapter_parameters(name)
            if name in self._frozen and _digest(weights) != self._frozen[name]:
                self.moved.add(name)
            if any(weight.grad is not None for weight in weights.values()):
                self.graded.add(name)
        if self._left is not None:
            self._left -= units
            if self._left <= 0:
                raise Stopped

    def _idle(self) -> list[str]:
        return [name for name in self.model.adapters if name not in self.model.trained]


def tensors_held(value: Any, place: str = "self", depth: int = 4) -> dict[str, Tensor]:
    """The tensors that a method keeps in its attributes, by their place.

    Skips the tensors of models and modules that the method keeps.
    """
    if isinstance(value, Tensor):
        return {place: value}
    if depth == 0 or isinstance(value, DiffusionModel | torch.nn.Module):
        return {}
    if isinstance(value, Mapping):
        inside = {f"{place}[{key!r}]": item for key, item in value.items()}
    elif isinstance(value, list | tuple):
        inside = {f"{place}[{k}]": item for k, item in enumerate(value)}
    elif isinstance(value, Method):
        inside = {f"{place}.{name}": item for name, item in vars(value).items()}
    else:
        return {}
    return {
        where: tensor
        for name, item in inside.items()
        for where, tensor in tensors_held(item, name, depth - 1).items()
    }


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        data = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(f"{name} ".encode() + data.numpy().tobytes())
    return digest.hexdigest()
