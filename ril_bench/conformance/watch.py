"""Watches a method from outside while it runs.

Records which frozen weights change and which get gradients, and refuses what the contract does not allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.errors import UserError
from ril_bench.methods import Method, Plan
from ril_bench.running.progress import Reporter
from ril_bench.tuners.base import Task

#: the attributes of a task that a method may read
SHOWN = ("index", "name", "key", "sampler", "guidance", "reward", "states")
#: the attributes that a method may use only while their task is the current one
REWARDS = ("reward", "states")


class NotItsOwn(UserError):
    """A method used something that reward incremental learning does not allow."""


class Guard:
    """Wraps a method and shows it only what the contract allows; every other call is passed on."""

    def __init__(self, method: Method):
        self.method = method
        self._now = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["method"], name)

    def plan(self, tasks: Sequence[str], i: int) -> Plan:
        plan = self.method.plan(tasks, i)
        if not self.method.oracle and (extra := sorted(plan.weights.keys() - {i})):
            raise NotItsOwn(
                f"step {i} of its plan also trains on {', '.join(f'task {j}' for j in extra)}",
                hint="earlier rewards are not available then; a method that uses them states oracle = True",
            )
        if not self.method.oracle and plan.extension != 1:
            raise NotItsOwn(
                f"step {i} of its plan may use {plan.extension:g} times the budget of its task",
                hint="leave `extension` out; only an oracle may use more updates",
            )
        return plan

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._now = task.index
        self.method.start_task(_ShownTask(task, self), model)

    def end_task(self, task: Task, model: DiffusionModel) -> None:
        self._now = task.index
        self.method.end_task(_ShownTask(task, self), model)

    def permits(self, index: int) -> bool:
        return self.method.oracle or index == self._now


class _ShownTask:
    def __init__(self, task: Task, guard: Guard):
        self._task, self._guard = task, guard

    def __getattr__(self, name: str) -> Any:
        task, guard = self.__dict__["_task"], self.__dict__["_guard"]
        if name not in SHOWN:
            raise NotItsOwn(f"it reads task.{name}", hint=f"a method may read {', '.join(SHOWN)}")
        if name in REWARDS and not guard.permits(task.index):
            raise NotItsOwn(
                f"it uses the reward {task.name!r} after that task is over",
                hint="compute what you need in end_task and keep tensors; or state oracle = True",
            )
        return getattr(task, name)


class Stopped(BaseException):
    """Simulates a kill in the middle of a task: no failure, so not an Exception."""


class Watch(Reporter):
    """Inspects the model after each update; with `stop`, stops the run after that many units.

    Attributes:
        moved: frozen adapters whose weights changed inside a task.
        graded: frozen adapters that got a gradient.
    """

    def __init__(self, model: DiffusionModel, stop: int | None = None):
        super().__init__(quiet=True)
        self.model, self.left = model, stop
        self.moved: set[str] = set()
        self.graded: set[str] = set()
        self._base = _pretrained(model)
        self._frozen: dict[str, str] = {}

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self._frozen = {name: _digest(self.model.adapter_parameters(name)) for name in self._idle()}

    def advance(self, units: int = 1, note: str = "") -> None:
        for name in self._idle():
            weights = self.model.adapter_parameters(name)
            if name in self._frozen and _digest(weights) != self._frozen[name]:
                self.moved.add(name)
            if any(weight.grad is not None for weight in weights.values()):
                self.graded.add(name)
        if self.left is not None:
            self.left -= units
            if self.left <= 0:
                raise Stopped

    @property
    def base_moved(self) -> bool:
        """Whether the pretrained weights have changed since the watch began."""
        return _pretrained(self.model) != self._base

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


def _pretrained(model: DiffusionModel) -> str:
    """A digest of the weights that no adapter holds."""
    parts = (model.pipe.unet, model.pipe.vae, model.pipe.text_encoder)
    named = {f"{k}.{name}": p for k, part in enumerate(parts) for name, p in part.named_parameters()}
    # PEFT moves the weight of a layer one level deeper when the layer gets an adapter.
    return _digest({name.replace(".base_layer", ""): p for name, p in named.items() if ".lora_" not in name})


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        data = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(f"{name} ".encode() + data.numpy().tobytes())
    return digest.hexdigest()
