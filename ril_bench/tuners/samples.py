"""What tuners make of their own images: rated copies, trajectories, and steps spread over the sampler's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, sample
from ril_bench.draws import Draws, Key
from ril_bench.errors import UserError
from ril_bench.machine.parallel import team
from ril_bench.tuners.base import Task


@dataclass(frozen=True)
class Trajectory:
    """A rollout without gradient, and what its images scored."""

    x: Tensor  # (T + 1, N, C, h, w): what each step met, and x_0
    eps: Tensor  # (T, N, C, h, w): the guided noise of each step
    reward: Tensor  # (N,), signed

    def of_sample(self, k: int) -> dict[str, Tensor]:
        """What sample k has of it."""
        return {"x": self.x[:, k].clone(), "eps": self.eps[:, k].clone(), "reward": self.reward[k].clone()}

    @staticmethod
    def of_samples(parts: Sequence[Mapping[str, Tensor]]) -> Trajectory:
        """The reverse."""
        x, eps = (torch.stack([part[name] for part in parts], dim=1) for name in ("x", "eps"))
        return Trajectory(x, eps, torch.stack([part["reward"] for part in parts]))


@torch.no_grad()
def trajectory(model: DiffusionModel, task: Task, prompts: list[str], draws: Draws) -> Trajectory:
    """Takes T calls of the denoiser, one decoding and one call of the reward."""
    met: list[Prediction] = []
    x0 = sample(model, task.sampler, prompts, draws, guidance=task.guidance, on_step=met.append)
    return Trajectory(
        x=torch.stack([*(prediction.x_t for prediction in met), x0]),
        eps=torch.stack([prediction.eps for prediction in met]),
        reward=task.reward(model.decode(x0), prompts),
    )


class Kept:
    """Trajectories that serve several updates: those of a sample are made anew after `times` of them.

    They are held by task and sample: a method may train several tasks in turn, and neither micro-batches nor the
    number of processes change what is held.
    """

    def __init__(self, times: int):
        self._times = times
        self._held: dict[tuple[int, Key], dict[str, Any]] = {}
        self._asked: set[tuple[int, Key]] = set()

    def trajectories(
        self, model: DiffusionModel, task: Task, prompts: list[str], draws: Draws, copies: int
    ) -> tuple[list[str], list[Trajectory]]:
        """The prompts and a trajectory for each of their copies; held ones have the prompts they were made for."""
        keys = [(task.index, sample) for sample in draws.samples]
        if not all(key in self._held for key in keys):
            made = [trajectory(model, task, prompts, draws.copy(j)) for j in range(copies)]
            if self._times == 1:
                return prompts, made
            for k, (key, prompt) in enumerate(zip(keys, prompts, strict=True)):
                parts = [one.of_sample(k) for one in made]
                self._held[key] = {"left": self._times, "prompt": prompt, "made": parts}
        self._asked |= set(keys)
        found = [self._held[key] for key in keys]
        copied = [Trajectory.of_samples([one["made"][j] for one in found]) for j in range(copies)]
        return [one["prompt"] for one in found], copied

    def served(self) -> None:
        """Called after an update: what it asked for has one use less. (Not before: an update may be tried again.)"""
        for key in self._asked:
            left = self._held[key]["left"] - 1
            self._held[key] = {**self._held[key], "left": left}
            if left == 0:
                del self._held[key]
        self._asked = set()

    def state(self) -> list[Any]:
        """What a resume needs: of every process that works on the run, so that any number of them can go on."""
        own = [[*key, held] for key, held in self._held.items()]
        return [row for rows in team().gathered(lambda: own) for row in rows]

    def restore(self, state: list[Any]) -> None:
        """Take back a `state`: this process's samples of it."""
        self._held = {(task, sample): held for task, sample, held in state if team().owns(sample)}


def require_random_steps(task: Task) -> None:
    """Raises UserError where the steps of the sequence's sampler have no probability density."""
    if task.sampler.eta == 0:
        raise UserError(
            "the tuner needs a sampler whose steps are random, and eta is 0",
            where="sampler.eta",
            hint="set sampler.eta above 0 (1 in the papers), or choose another tuner",
        )


@torch.no_grad()
def rated(
    model: DiffusionModel, task: Task, prompts: list[str], draws: Draws, copies: int
) -> tuple[Tensor, Tensor]:
    """`copies` images of each prompt: latents (copies, N, C, h, w) and signed scores (copies, N).

    Takes copies x T calls of the denoiser, and as many decodings and calls of the reward as there are copies.
    """
    latents, rewards = [], []
    for j in range(copies):
        x0 = sample(model, task.sampler, prompts, draws.copy(j), guidance=task.guidance)
        latents.append(x0)
        rewards.append(task.reward(model.decode(x0), prompts))
    return torch.stack(latents), torch.stack(rewards)


def spread(steps: int, n: int, draws: Draws, *what: Key) -> list[int]:
    """n of a sampler's steps, one drawn from each of n equal segments; all micro-batches agree on them."""
    bounds = [round(j * steps / n) for j in range(n + 1)]
    return [draws.integers(low, high, *what, j) for j, (low, high) in enumerate(pairwise(bounds))]
