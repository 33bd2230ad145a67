"""The Method base class: what happens between rewards. Every hook does nothing until a method overrides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor

from ril_bench.config.options import Configurable
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction
from ril_bench.errors import UserError, nearest
from ril_bench.tuners.base import Task


@dataclass(frozen=True)
class Plan:
    """How a step spends its budget.

    weights: {task: share of the updates}, tasks counted from 1; each update belongs to one task, in turn, with
        that task's own reward and prompts. updates: the step's budget, in budgets of one task. start: the model
        it begins with; "pretrained" drops every adapter first.
    """

    weights: Mapping[int, float] = field(default_factory=dict)
    updates: float = 1.0
    start: Literal["current", "pretrained"] = "current"


class Method(Configurable):
    """An incremental method. The runner calls the hooks; a method never calls the runner.

    One update: accumulate (the tuner's, with `prediction_loss`) -> weight_loss().backward() -> adjust_gradients
    -> clip -> step -> after_update. A public method that is no hook is an error: it would never be called.

    Attributes:
        oracle: True if it sees what reward incremental learning forbids (old rewards, the task's identity).
    """

    oracle: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            if (
                callable(value)
                and not name.startswith("_")
                and not isinstance(value, type)
                and name not in HOOKS
            ):
                raise UserError(
                    f"{cls.__name__}.{name} is no hook: it would never be called",
                    where=f"{cls.__module__}, class {cls.__name__}",
                    hint=f"{nearest(name, HOOKS)} A helper's name begins with _",
                )

    def bind(self, model: DiffusionModel) -> None:
        """Called at the start of a run and of every resume, before any other hook."""

    def plan(self, tasks: Sequence[str], i: int) -> Plan:
        """How step i (from 1) spends its budget; `tasks` are the rewards' names up to task i."""
        return Plan(weights={i: 1.0})

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        """Add, freeze and activate adapters; called once for each task in a run's life, not on a resume."""

    def prediction_loss(self, prediction: Prediction) -> Tensor | None:
        """A scalar loss on one graded noise prediction of the tuner; its mean over graded calls is added."""

    def weight_loss(self) -> Tensor | None:
        """A scalar loss on the weights, once an update."""

    def adjust_gradients(self) -> None:
        """Change the gradients in place, before they are clipped."""

    def after_update(self) -> None:
        """Called after each optimizer step."""

    def end_task(self, task: Task, model: DiffusionModel) -> None:
        """Measure importance, merge adapters; called after a task's last update, before the evaluation."""

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs beyond the adapters, as tensors and plain values; its size is reported."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back a `state_dict`; called after `bind`, with the adapters in place."""


HOOKS = frozenset(
    name for name, value in vars(Method).items() if callable(value) and not name.startswith("_")
)
