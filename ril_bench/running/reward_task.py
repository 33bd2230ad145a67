"""A task as tuners and methods see it, and the unit of its reward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.states import State, visited
from ril_bench.diffusion.steps import Sampler
from ril_bench.draws import Draws, Key, generator
from ril_bench.rewards.base import Reward


@dataclass(frozen=True)
class Unit:
    """The scale on which a tuner sees a reward: (r - b) / sigma, with the sign turned so that higher is better.

    Attributes:
        b: the score that a tuner sees as 0, in the reward's unit.
        sigma: the difference of scores that a tuner sees as 1, in the reward's unit.
    """

    b: float = 0.0
    sigma: float = 1.0


@dataclass(frozen=True)
class RewardTask:
    """A task as tuners and methods see it, without the prompts and latents of the evaluation."""

    index: int  # counts from 1
    name: str  # the name of the reward
    key: tuple[str | int, ...]
    prompts: Sequence[str]
    sampler: Sampler
    guidance: float
    reward_model: Reward
    counter: Counter[Any] = field(repr=False)
    unit: Unit = field(default_factory=Unit)

    @property
    def rewards(self) -> list[Reward]:
        """The rewards of the task: one."""
        return [self.reward_model]

    def reward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Signed scores (N,) in sigma: 0 is the unit's b, and higher is better."""
        scores = self.reward_model(images, prompts)
        self.counter[f"reward:{self.name}", scores.requires_grad, len(images)] += 1
        return self.reward_model.direction * (scores - self.unit.b) / self.unit.sigma

    def raw(self, reward: float) -> float:
        """A mean of `reward`, in the reward's own unit; still signed so that higher is better."""
        return self.unit.sigma * reward + self.reward_model.direction * self.unit.b

    def prompt(self, key: tuple[Key, ...], sample: Key) -> str:
        """The training prompt of a sample under a draw key."""
        return drawn_prompt(self.prompts, key, sample)

    def states(self, model: DiffusionModel, n: int) -> Iterator[State]:
        """n states that the model visits on the task's training prompts.

        Counts the calls as training.
        """
        draws = Draws((*self.key, "states"), range(n))
        prompts = [self.prompt(draws.key, k) for k in range(n)]
        return visited(model, self.sampler, prompts, draws, self.guidance)


def drawn_prompt(prompts: Sequence[str], key: tuple[Key, ...], sample: Key) -> str:
    """The prompt of a sample under a draw key."""
    return prompts[int(generator(key, sample, "prompt").integers(len(prompts)))]


@dataclass(frozen=True)
class RewardSum:
    """The weighted sum of the rewards of several tasks, as a task: all rewards score the same images.

    Attributes:
        own: the task of the step; index, key and sampler are its own.
        parts: the tasks of the sum, each with its weight.
    """

    own: RewardTask
    parts: Sequence[tuple[RewardTask, float]]

    @property
    def index(self) -> int:
        return self.own.index

    @property
    def name(self) -> str:
        """The names of the rewards, joined by "+"."""
        return "+".join(task.name for task, _ in self.parts)

    @property
    def key(self) -> tuple[str | int, ...]:
        return self.own.key

    @property
    def sampler(self) -> Sampler:
        return self.own.sampler

    @property
    def guidance(self) -> float:
        return self.own.guidance

    @property
    def rewards(self) -> list[Reward]:
        """The rewards of all parts."""
        return [task.reward_model for task, _ in self.parts]

    def reward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """The weighted sum (N,) of the signed scores in sigma. Counts a call of each reward."""
        return torch.stack([weight * task.reward(images, prompts) for task, weight in self.parts]).sum(0)

    def raw(self, reward: float) -> float:
        """A mean of `reward`, unchanged: a sum of several rewards has no unit but sigma."""
        return reward

    def prompt(self, key: tuple[Key, ...], sample: Key) -> str:
        """The training prompt of a sample: each task of the sum provides the same share of prompts."""
        task, _ = self.parts[int(generator(key, sample, "task").integers(len(self.parts)))]
        return task.prompt(key, sample)

    def states(self, model: DiffusionModel, n: int) -> Iterator[State]:
        """The states of the step's own task."""
        return self.own.states(model, n)


def summed(own: RewardTask, parts: Sequence[tuple[RewardTask, float]]) -> RewardTask | RewardSum:
    """The weighted sum of tasks as one task; a single task is itself, without its weight."""
    return parts[0][0] if len(parts) == 1 else RewardSum(own, parts)
