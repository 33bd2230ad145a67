"""The training of one task: updates of a tuner under a method.

The key of an update decides all of its draws.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction
from ril_bench.draws import Draws, Key
from ril_bench.errors import NumericalError, OutOfMemoryError, UserError
from ril_bench.machine.parallel import Team, team
from ril_bench.methods import Method
from ril_bench.running import accounts
from ril_bench.running.criterion import Criterion
from ril_bench.running.hook_results import (
    checked_log,
    checked_scores,
    graph_of,
    graphs_of_update,
    refuse_weights_of_model,
    scalar_loss,
    tasks_of_turn,
    trained_parameters,
    unchanged,
)
from ril_bench.running.reward_task import RewardSum, RewardTask, summed
from ril_bench.sequences.spec import TaskSpec
from ril_bench.storage.names import CONSOLIDATION
from ril_bench.tuners.base import Log, MicroBatch, Tuner

T = TypeVar("T")


@dataclass
class Training:
    """The training of one step and its progress: `update` counts the updates that are done.

    Attributes:
        tasks: task `step`, and the other tasks that the step trains.
        weights: {task: weight} of the rewards that an update raises.
        updates: the largest number of updates; a criterion or a bound may end the training before.
        criterion: what ends the training early; None where no task has a criterion.
        consolidates_from: the update at which a consolidation began, a phase without rewards; None before it.
    """

    model: DiffusionModel
    method: Method
    tuner: Tuner
    spec: TaskSpec
    tasks: Mapping[int, RewardTask]
    weights: Mapping[int, float]
    updates: int
    step: int
    seed: int
    update: int = 0
    ended: bool = False  # whether the method's end_task has been called
    seconds: float = 0.0  # so far, with those of earlier processes that this one resumes
    calls: Counter[Any] = field(default_factory=Counter)  # so far, with those of earlier processes
    peak_memory: int = 0  # bytes of the step so far, with earlier processes
    trainable_bytes: int = 0  # of what trains; the method may train nothing after the end of a task
    watched_seconds: float = 0.0  # of evaluations between updates; not a part of `seconds`
    watched_calls: Counter[Any] = field(default_factory=Counter)
    team: Team = field(default_factory=team)
    micro_batch: int = 0  # samples at once; 0 for the size in the budget; halved when memory runs out
    bounds: Mapping[str, float] = field(default_factory=dict)  # on calls, by their names in run.json
    criterion: Criterion | None = None
    consolidates_from: int | None = None
    began_with: int = field(init=False)  # the micro-batch at the start

    def __post_init__(self) -> None:
        own = math.ceil(self.spec.budget.batch / self.team.size)
        self.micro_batch = min(self.micro_batch or own, self.spec.budget.micro_batch or own, own)
        self.began_with = self.micro_batch

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW over what trains now; made when it is first used, because a step that has ended may train nothing.

        Raises UserError where no adapter trains.
        """
        return adamw(self.model, self.method, self.tuner, self.spec)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters: those of the adapters, of the tuner's own networks, and of the method."""
        return [
            *self.model.parameters(),
            *trained_parameters(self.tuner),
            *trained_parameters(self.method),
        ]

    @property
    def spent(self) -> bool:
        """Whether all updates are done, or the last update reached a bound on calls."""
        calls = accounts.spent(self.calls + self.model.counter) if self.bounds else {}
        return self.update >= self.updates or any(calls[name] >= n for name, n in self.bounds.items())

    @property
    def finished(self) -> bool:
        """Whether the budget of this phase is spent, or all tasks meet their criteria."""
        return self.spent or (self._goals is not None and self._goals.all_met)

    @property
    def _goals(self) -> Criterion | None:
        """The criterion, where it can end this phase."""
        return self.criterion if self.consolidates_from is None else None

    @property
    def objective(self) -> RewardTask | RewardSum:
        """What the next update raises: the sum of the rewards whose turn it is.

        Where the method leaves the turn open, these are the rewards below their criterion, or all if none is below. In
        a consolidation it is the task of the step, whose reward is then not used.
        """
        own = self.tasks[self.step]
        if self.consolidates_from is not None:
            return own
        chosen = self.method.turn(self.update)
        turn = tasks_of_turn(chosen, self.weights, self.method)
        if chosen is None and self.criterion:
            turn = [j for j in turn if j not in self.criterion.met] or turn
        return summed(own, [(self.tasks[j], weight) for j, weight in self.weights.items() if j in turn])

    def run(self, after: Callable[[dict[str, Any]], None]) -> None:
        """Does all remaining updates, and calls `after` with the log line of each update.

        A task may need no update, where its criterion is met at its start.
        """
        self.trainable_bytes = max(self.trainable_bytes, accounts.tensor_bytes(self.parameters))
        if self._goals and not self._goals.checks:
            began = time.perf_counter()
            self._goals.check(self.model, update=0)
            self.seconds += time.perf_counter() - began
        while not self.finished:
            began = time.perf_counter()
            line = self._one_update(self.objective)
            self.update += 1
            if self._goals and (self._goals.due(self.update) or self.spent):
                line["gain"] = self._goals.check(self.model, self.update)
            seconds = time.perf_counter() - began
            self.seconds += seconds
            after({**line, "seconds": seconds})

    def _one_update(self, task: RewardTask | RewardSum) -> dict[str, Any]:
        with self.team.counted(self.model.counter):
            rewards = self._batch_rewards(task)
            parts = self.team.gathered(lambda: self._fitting(task, self._accumulated, rewards))
            log = sum(parts, Log(0.0, 0.0, 0.0))
        self._fill_gradients()
        self.team.add_gradients(self.parameters)
        penalty = log.penalty
        if (weight_loss := self._weight_loss()) is not None:
            penalty += weight_loss
        self.method.adjust_gradients()
        norms = self._clipped()
        self._refuse_infinite(task, reward=log.reward, loss=log.loss, penalty=penalty, gradient=sum(norms))
        self.optimizer.step()
        self.method.after_update()
        self.tuner.after_update(self.model)
        rewarded = self.consolidates_from is None
        return {
            "task": self.step,
            "update": self.update,
            "reward": task.name if rewarded else CONSOLIDATION,
            "score": task.raw(log.reward) if rewarded else -penalty,  # what the update raises
            "loss": log.loss,
            "penalty": penalty,
            "grad_norm": norms[0],
        }

    def _fill_gradients(self) -> None:
        """Gives adapter weights that no loss reached a gradient of 0: a method may read and change all of them."""
        for weight in self.model.parameters():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)

    def _weight_loss(self) -> float | None:
        """The method's loss on the weights, after its backward."""
        loss = scalar_loss(self.method.weight_loss(), "weight_loss", self.method)
        if loss is None:
            return None
        if loss.requires_grad:
            with graph_of(self.method, "weight_loss"):
                loss.backward()
        return loss.item()

    def _fitting(self, task: RewardTask | RewardSum, work: Callable[..., T], *arguments: Any) -> T:
        """Returns `work(task, *arguments)`, which goes through the samples of this process in micro-batches.

        If the device has too little memory, starts again with micro-batches of half the size. Draws are keyed by the
        sample, so the update is the same up to rounding. Raises OutOfMemoryError if one sample alone needs too much
        memory.
        """
        while True:
            counted = Counter(self.model.counter)
            try:
                return work(task, *arguments)
            except torch.OutOfMemoryError as error:
                if self.micro_batch == 1:
                    raise OutOfMemoryError(
                        f"the device has too little memory for one sample: {error}",
                        where=f"task {self.step} ({task.name}), update {self.update}",
                        hint="add --compute checkpointing=true or --compute dtype=bfloat16, or use a tuner "
                        "that needs less memory",
                    ) from error
            # Python frees the error, and the graphs that its frames hold, at the end of the except block.
            self.model.counter.clear()
            self.model.counter.update(counted)
            self.micro_batch = math.ceil(self.micro_batch / 2)
            if self.model.device.type == "cuda":
                torch.cuda.empty_cache()

    def _batch_rewards(self, task: RewardTask | RewardSum) -> Tensor | None:
        """The scores (copies, batch) of all samples, in their order, if the tuner compares them in its loss."""
        found: dict[Key, Tensor] = {}
        for of_process in self.team.gathered(lambda: self._fitting(task, self._scored)):
            found |= of_process
        return torch.stack([found[k] for k in range(self.spec.budget.batch)], dim=1) if found else None

    def _scored(self, task: RewardTask | RewardSum) -> dict[Key, Tensor]:
        """The scores (copies,) of each sample of this process; empty if the tuner needs none before its loss."""
        found: dict[Key, Tensor] = {}
        for batch in self._micro_batches(task):
            scores = self.tuner.score(self.model, task, batch)
            rewards = checked_scores(scores, len(batch.draws.samples), self.tuner)
            if rewards is None:
                break
            found |= dict(zip(batch.draws.samples, rewards.cpu().unbind(1), strict=True))
        return found

    def _accumulated(self, task: RewardTask | RewardSum, rewards: Tensor | None) -> Log:
        """Accumulates the gradients of this process's samples."""
        self.optimizer.zero_grad(set_to_none=True)
        log = Log(0.0, 0.0, 0.0)
        for batch in self._micro_batches(task):
            own = replace(batch, rewards=None if rewards is None else rewards.clone())
            with graphs_of_update(self.method, task.rewards):
                found = self.tuner.accumulate(self.model, task, own)
            log += checked_log(found, self.tuner)
        return log

    def _micro_batches(self, task: RewardTask | RewardSum) -> Iterator[MicroBatch]:
        """This process's part of the update; each micro-batch is weighted by its share of the whole batch."""
        budget, key = self.spec.budget, (self.seed, self.step, self.update)
        draws = Draws(key, self.team.owned(range(budget.batch)))
        prompts = [task.prompt(key, sample) for sample in draws.samples]
        for start in range(0, len(prompts), self.micro_batch):
            part = slice(start, start + self.micro_batch)
            share = len(prompts[part]) / budget.batch
            yield MicroBatch(prompts[part], draws[part], share, self._prediction_loss)

    def _prediction_loss(self, prediction: Prediction) -> Tensor | None:
        # The tuner goes on with what it predicted. A copy of the output would add its gradients in another order.
        own = replace(prediction, x_t=prediction.x_t.clone(), prompts=list(prediction.prompts))
        with unchanged(prediction.output, self.method, "prediction_loss"):
            loss = self.method.prediction_loss(own)
        return scalar_loss(loss, "prediction_loss", self.method)

    def _clipped(self) -> list[float]:
        """Clips each group of parameters separately, and returns the norms before clipping.

        The groups are clipped separately, so that a large gradient of the tuner's own network does not shrink
        the gradient of the model. The norm of the model comes first.
        """
        return [
            nn.utils.clip_grad_norm_(group["params"], self.spec.optimizer.max_grad_norm).item()
            for group in self.optimizer.param_groups
        ]

    def _refuse_infinite(self, task: RewardTask | RewardSum, **values: float) -> None:
        bad = [name for name, value in values.items() if not torch.tensor(value).isfinite()]
        if bad:
            raise NumericalError(
                f"the {' and the '.join(bad)} of an update {'is' if len(bad) == 1 else 'are'} not finite",
                where=f"task {self.step} ({task.name}), update {self.update}",
                hint="lower the learning rate, or fix the reward or the method",
            )


def adamw(model: DiffusionModel, method: Method, tuner: Tuner, spec: TaskSpec) -> torch.optim.Optimizer:
    """AdamW over the trained adapters; the tuner's own networks and the method's parameters are groups of their own.

    Raises UserError where no adapter trains.
    """
    if not model.trained:
        raise UserError(
            "the method lets no adapter train",
            where="start_task",
            hint="call model.add_adapter(name, seed_key=task.key), then "
            "model.activate({name: 1.0}, train=[name])",
        )
    own = {owner: trained_parameters(owner) for owner in (tuner, method)}
    for owner, parameters in own.items():
        refuse_weights_of_model(owner, parameters, model)
    groups = [{"params": each} for each in (model.parameters(), *own.values())]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=spec.optimizer.lr,
        weight_decay=spec.optimizer.weight_decay,
    )
