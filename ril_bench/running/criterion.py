"""Training to a criterion: how much the tasks of a step have gained, and when to measure it again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.running.fixed_images import fixed_scores
from ril_bench.running.reward_task import RewardTask
from ril_bench.sequences.spec import Until

LEAST = 2  # updates between two checks
RECENT = 3  # pairs of checks whose rates count


@dataclass(frozen=True)
class Goal:
    """The criterion of one task.

    Attributes:
        pretrained: the pretrained model's scores (n,) of its first fixed images, in the reward's unit.
        sigma: their deviation, also where the task states another unit for its tuner.
    """

    task: RewardTask
    until: Until
    pretrained: Tensor
    sigma: float

    def gain(self, scores: Tensor) -> float:
        """The gain over the pretrained model, in sigma, of the scores (n,) of the same prompts and latents.

        Image by image, so that the differences between prompts and latents drop out. It has no lag.
        """
        n = self.until.images
        difference = (scores[:n].double() - self.pretrained[:n]).mean().item()
        return self.task.reward_model.direction * difference / self.sigma


@dataclass
class Criterion:
    """The criteria of a step's tasks, and the gains that were measured so far.

    The gain is measured before the first update, and after the updates that `next_check` chooses. The calls of the
    model and of the rewards are counted as training.

    Attributes:
        goals: by task, counted from 1.
        checks: (updates done, {task: gain}), in order.
        every_task: whether all tasks of the step have a goal, so that the step can end early.
    """

    goals: Mapping[int, Goal]
    every_task: bool = True
    checks: list[tuple[int, dict[int, float]]] = field(default_factory=list)

    @property
    def gains(self) -> dict[int, float]:
        """The newest gain of each task with a goal; empty before the first check."""
        return self.checks[-1][1] if self.checks else {}

    @property
    def met(self) -> list[int]:
        """The tasks whose newest gain reaches their criterion."""
        return [j for j, gain in self.gains.items() if gain >= self.goals[j].until.gain]

    @property
    def all_met(self) -> bool:
        """Whether every task of the step has a criterion and meets it."""
        return self.every_task and bool(self.checks) and len(self.met) == len(self.goals)

    def due(self, update: int) -> bool:
        """Whether a check is due after `update` updates."""
        if not self.checks:
            return True
        checks = {j: [(at, gains[j]) for at, gains in self.checks] for j in self.goals}
        return update >= min(next_check(checks[j], goal.until) for j, goal in self.goals.items())

    def check(self, model: DiffusionModel, update: int) -> dict[str, float]:
        """Measures the gain of each task, {reward: gain}, and stores it.

        Before the first update of a model that no adapter changes, every gain is 0, and no image is generated.
        """
        if update == 0 and model.is_unchanged:
            gains = dict.fromkeys(self.goals, 0.0)
        else:
            scores = self._scores(model)
            gains = {j: goal.gain(scores[j]) for j, goal in self.goals.items()}
        self.checks.append((update, gains))
        return self.by_reward(gains)

    def by_reward(self, gains: Mapping[int, float]) -> dict[str, float]:
        """Gains by the name of the reward."""
        return {self.goals[j].task.name: gain for j, gain in gains.items()}

    def _scores(self, model: DiffusionModel) -> dict[int, Tensor]:
        """The scores of each task; tasks with the same prompts score the same images."""
        found: dict[int, Tensor] = {}
        for j, goal in self.goals.items():
            if j in found:
                continue
            group = {k: other for k, other in self.goals.items() if other.task.prompts is goal.task.prompts}
            scores = fixed_scores(
                model,
                goal.task.sampler,
                goal.task.guidance,
                goal.task.prompts,
                {other.task.name: other.task.reward_model for other in group.values()},
                max(other.until.images for other in group.values()),
            )
            found |= {k: scores[other.task.name] for k, other in group.items()}
        return found

    def state(self) -> list[Any]:
        """The checks, for a checkpoint."""
        return [[update, [[j, gain] for j, gain in gains.items()]] for update, gains in self.checks]

    def load(self, state: Sequence[Any]) -> None:
        """Restores what `state` returned."""
        self.checks = [(update, dict(gains)) for update, gains in state]


def most_checks(updates: int, every: int) -> int:
    """The largest number of checks between the updates of a task and after the last one, by `next_check`.

    The check before the first update is not one of them.
    """
    least = min(LEAST, every)
    first = max(least, math.ceil(every / 2))
    return 1 + math.ceil(max(updates - first, 0) / least)


def next_check(checks: Sequence[tuple[int, float]], until: Until) -> int:
    """The number of updates after which to measure a gain again.

    The next check comes when the rest of the gain would be made at the fastest rate between two of the newest checks,
    but at least two and at most `every` updates after the last check: a check costs as much as two updates. So a task
    that gains at an even rate overshoots by less than two updates. A task that becomes faster overshoots by at most
    what `every` updates gain. After the first check, which gives no rate, the next one comes after half of `every`. A
    task that does not gain, or that meets its criterion, is measured again after `every`. [ours]

    Args:
        checks: (updates done, gain) of each check so far, in order; at least one.
    """
    update, gain = checks[-1]
    if gain >= until.gain:
        return update + until.every
    newest = pairwise(checks[-RECENT - 1 :])
    rates = [(after - before) / (later - earlier) for (earlier, before), (later, after) in newest]
    if not rates:
        return update + max(min(LEAST, until.every), math.ceil(until.every / 2))
    if max(rates) <= 0:
        return update + until.every
    wait = min(until.every, (until.gain - gain) / max(rates))  # before rounding: a tiny rate gives infinity
    return update + max(min(LEAST, until.every), math.floor(wait))
