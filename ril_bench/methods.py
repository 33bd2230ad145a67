"""The Method base class, which decides what happens between rewards, and the plan of a step."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from ril_bench.config.options import Configurable
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction
from ril_bench.errors import UserError, nearest
from ril_bench.tuners.base import Task


@dataclass(frozen=True)
class Consolidation:
    """A phase without rewards, after a task's training: updates on the model's own rollouts, by the method's losses.

    Attributes:
        updates: how many updates it has, as a multiple of one task's budget.
        calls: predictions with gradient in each rollout; `prediction_loss` is called for each.
    """

    updates: float = 1.0
    calls: int = 4


@dataclass(frozen=True)
class Plan:
    """How a step uses its updates, and where it starts.

    Attributes:
        weights: {task: weight}, tasks counted from 1. Each update raises the weighted sum of the tasks' rewards, in
            sigma, on the same images; the prompt of an image comes from one of the tasks. A task that meets its
            criterion leaves the sum, and returns if it loses its criterion again. All these tasks need the same tuner,
            optimizer and batch size.
        updates: how many updates the step has at most: "own", those in the budget of task i, or "sum", those of all
            tasks in `weights`. The step ends earlier if all these tasks meet their criteria.
        extension: a factor of the updates, used where all tasks in `weights` have a criterion.
        start: "current": from the model that the step before left; "pretrained": all adapters are removed first.
        consolidation: a phase after these updates, before `end_task`; None for no such phase.
    """

    weights: Mapping[int, float] = field(default_factory=dict)
    updates: Literal["own", "sum"] = "own"
    extension: float = 1.0
    start: Literal["current", "pretrained"] = "current"
    consolidation: Consolidation | None = None


class Method(Configurable):
    """An incremental method: base class of all methods.

    A method is a set of hooks that a run calls. Every hook is optional, and does nothing in this class. A method
    never calls the run. The order of the calls is

        bind                                      once, and once again on every resume
        plan -> start_task                        at the start of step i
            for each update:
                turn
                accumulate (the tuner)            calls prediction_loss for each differentiated prediction
                weight_loss, then its backward
                adjust_gradients
                clipping, check that all values are finite, optimizer step
                after_update
        start_consolidation                       if the plan has a consolidation: after the last update with a reward
            for each update of the consolidation: as above, with rollouts that no reward scores
        end_task                                  after the last update of step i, before the evaluation

    `state_dict` is called for a checkpoint, at any point between two updates and at the end of a step;
    `load_state_dict` is called on a resume, after `bind`.

    A method sees the model, the task's key and sampler, and the current reward. The tuner's loss is in sigma (see
    `tuners.base.Task.reward`), so one strength means the same for every reward. A method must not use earlier rewards
    in later steps, unless it is an `oracle`; `ril-bench check FILE` tests this and the other rules below. What it keeps
    of a task, such as visited states and their prompts, is reported as carried memory. The names of a method's own
    helpers begin with an underscore: a public method that is not a hook raises UserError when the class is defined,
    as it would never be called.

    Attributes:
        oracle: True for a method that uses what reward incremental learning forbids: earlier or later rewards. Reports
            mark it.
        needs: what the sampler must have: "random_steps" (eta above 0) or "memoryless_steps" (eta 1). A sequence
            without it is refused before a model is loaded.
        options: the method's options, validated. Declare them in a nested class `Options(Method.Options)`, a pydantic
            model; `Method(**options)` raises UserError naming every wrong option.
    """

    oracle: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()

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
                    f"{cls.__name__}.{name} is not a hook: it would never be called",
                    where=f"{cls.__module__}, class {cls.__name__}",
                    hint=f"{nearest(name, HOOKS)} The name of a helper begins with _",
                )

    def bind(self, model: DiffusionModel) -> None:
        """Gives the method its model. Called first, at the start of a run and of every resume.

        Store the model here, and set every attribute that the other hooks read to its initial value. The model has no
        adapters yet, and this hook must not add any: `start_task` does, and on a resume the adapters of the checkpoint
        are put in place after `bind` and before `load_state_dict`.
        """

    def plan(self, tasks: Sequence[str], i: int) -> Plan:
        """Decides how step i uses its updates. Called before each step, and possibly more often.

        Args:
            tasks: names of the rewards of tasks 1 to i.
            i: the step, counted from 1.

        Returns:
            The step's plan; by default all updates train task i. Weights for tasks other than i, and an extension, are
            allowed for an oracle only. The result must depend on the arguments and the options alone.
        """
        return Plan(weights={i: 1.0})

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        """Chooses which adapters exist, which are active and which train.

        Called once for each step of a run. It is not called again on a resume inside the step. Use
        `model.add_adapter(name, seed_key=task.key)` and `model.activate({name: scale, ...}, train=[name])`;
        afterwards at least one adapter must train. The base weights stay frozen. With a plan of several tasks, `task`
        is task i.
        """

    def turn(self, update: int) -> Collection[int] | None:
        """Chooses which tasks of the plan the next update raises. Called before each update.

        Args:
            update: the number of updates of the step so far.

        Returns:
            Numbers of tasks in the plan's weights: all of them are raised, also those that meet their criterion. None
            for all that do not meet it.
        """
        return None

    def parameters(self) -> Iterable[nn.Parameter]:
        """The trained parameters of the method besides the adapters; none by default.

        They get the gradients that `adjust_gradients` sets, and AdamW's steps with the learning rate of the adapters;
        their gradients are clipped separately. Called after `start_task` and `start_consolidation`, and on a resume
        after `load_state_dict`. Their values belong in `state_dict`.
        """
        return []

    def prediction_loss(self, prediction: Prediction) -> Tensor | None:
        """A loss on one prediction of the tuner, such as a distillation.

        Called inside `accumulate`, for every denoiser call that the tuner differentiates, with the samples of one
        micro-batch. The mean over these calls is added to the tuner's loss. The number of calls differs between
        tuners, so do not count on one call for each update.

        Args:
            prediction: its `output` (N, C, h, w), noise or a velocity, carries the graph; its other tensors do not.
                `prediction.x0()` is the clean latents, `prediction.noise()` the noise, and
                `prediction.with_output(out)` the same prediction with the output of another model. For a teacher's
                output call `model.predict` inside `torch.no_grad()` and `model.folded(...)`. Where a tuner
                differentiates a chain of steps (draft with k above 1), `output` depends on the weights also through
                the latents; for a loss at given latents call `model.predict` on `prediction.x_t` again.

        Returns:
            A scalar that averages over the N samples, or None for no loss. Never call backward on it.
        """

    def weight_loss(self) -> Tensor | None:
        """A loss on the weights, such as a quadratic penalty.

        Called once in each update, after `accumulate`.

        Returns:
            A scalar, whose backward the run calls if it has a graph, or None for no loss.
        """

    def adjust_gradients(self) -> None:
        """Changes the gradients of `model.parameters()` in place, for example by a projection.

        Called once in each update, after all backward calls, before the gradients are clipped.
        """

    def after_update(self) -> None:
        """Called after each optimizer step, for example to update a moving average of the weights."""

    def start_consolidation(self, task: Task, model: DiffusionModel) -> None:
        """Chooses what the consolidation trains, as `start_task` does for the task, for a new optimizer.

        Called once in each step whose plan has a consolidation, after the last update with a reward. It is not called
        again on a resume inside the consolidation. From now on `prediction_loss` gets predictions of rollouts that no
        reward scores; tell the two phases apart by the adapters that train.
        """

    def end_task(self, task: Task, model: DiffusionModel) -> None:
        """Finishes step i: measure importance, merge or rescale adapters.

        Called once, before the evaluation. The evaluation of the step sees the model as this hook leaves it. It is
        the last time that the method may call `task.reward` and `task.states`; what it needs later it must store as
        tensors. Calls of the model here are counted as training.
        """

    def state_dict(self) -> dict[str, Any]:
        """All that the method stores besides the adapters, for a checkpoint.

        Its size is reported as carried memory.

        Returns:
            Tensors and plain values (numbers, strings, None), in dicts, lists and tuples. Leave out the model, its
            adapters, and what `bind` sets.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned.

        Called on a resume, after `bind`, with the adapters in place. A run that was interrupted and resumed must
        write the same bytes as a run without interruption.
        """


HOOKS = frozenset(
    name for name, value in vars(Method).items() if callable(value) and not name.startswith("_")
)
