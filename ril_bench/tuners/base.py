"""The Tuner base class: how one reward is raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ril_bench.config.options import Configurable
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import DDIM, Prediction
from ril_bench.diffusion.states import State
from ril_bench.draws import Draws
from ril_bench.errors import UserError

Penalty = Callable[[Prediction], Tensor | None]


class Task(Protocol):
    """What tuners and methods see of a task."""

    @property
    def index(self) -> int:
        """From 1."""

    @property
    def name(self) -> str:
        """The reward's."""

    @property
    def key(self) -> tuple[str | int, ...]:
        """For what a method draws: differs by run seed and task."""

    @property
    def sampler(self) -> DDIM:
        """The sequence's."""

    @property
    def guidance(self) -> float:
        """The sequence's."""

    def reward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Signed scores (N,) of images (N, 3, H, W): higher is better."""

    def states(self, model: DiffusionModel, n: int) -> Iterator[State]:
        """n states that the model visits while it samples on the task's prompts, each with its gradient."""


@dataclass(frozen=True)
class Log:
    """What one micro-batch did, already multiplied by its share: an update's is the sum."""

    reward: float  # mean signed reward
    loss: float  # the tuner's own, without the penalty
    penalty: float  # the method's, mean over graded calls

    def __add__(self, other: Log) -> Log:
        return Log(self.reward + other.reward, self.loss + other.loss, self.penalty + other.penalty)


class Held(NamedTuple):
    """What a tuner's memory grows with."""

    evaluations: int  # of the denoiser, whose graphs are open at once
    together: bool  # whether the graphs of the decoding and the reward are open with them


class Outcome(NamedTuple):
    """What a rollout came to."""

    reward: float  # mean signed reward
    loss: float  # mean, without the penalty
    x0: Tensor  # (N, C, h, w), detached


class Grading:
    """The backward calls of one micro-batch, with the method's penalty on every graded noise prediction.

    Each graded prediction is shown to `see` once; `backward` then runs share * (loss + the sum of their penalties
    / calls), so that over a micro-batch the mean penalty is added however many backward calls it takes.

    Args:
        calls: how many graded predictions the micro-batch makes.
    """

    def __init__(self, penalty: Penalty | None, calls: int, share: float):
        self._penalty, self._calls, self._share = penalty, calls, share
        self._seen: list[Tensor] = []
        self._added = 0.0

    def see(self, prediction: Prediction) -> None:
        """Asks for the method's loss on a graded prediction."""
        if self._penalty is not None and (value := self._penalty(prediction)) is not None:
            self._seen.append(value)

    def backward(self, loss: Tensor) -> None:
        """Back-propagates a scalar loss, with the penalties on what was seen since the last time."""
        extra = torch.stack(self._seen).sum() / self._calls if self._seen else torch.zeros_like(loss)
        self._seen = []
        (self._share * (loss + extra)).backward()
        self._added += extra.item()

    def log(self, reward: float, loss: float) -> Log:
        """What the micro-batch did; `reward` and `loss` are its means."""
        # the penalty is not the difference of the sums, which would round it away
        return Log(reward=self._share * reward, loss=self._share * loss, penalty=self._share * self._added)


def differentiable_reward(task: Task, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """The signed scores (N,) with the graph of the images. Raises UserError where the reward keeps none."""
    reward = task.reward(images, prompts)
    if images.requires_grad and not reward.requires_grad:
        raise UserError(
            "the tuner differentiates the reward, and this one keeps no gradient",
            where="tuner",
            hint="choose a differentiable reward, or a tuner that needs its values alone",
        )
    return reward


class Tuner(Configurable):
    """Raises one reward.

    A micro-batch is N prompts. A tuner that wants several images of one prompt draws them as copies
    (`draws.copy(j)`), so that they never part; a model that it is held to is a `Reference`. It counts nothing
    itself: the model counts every call of the denoiser and of the autoencoder, the task every call of the reward.

    Attributes:
        needs: of "reward" (values), "reward_gradient", "images".
    """

    needs: frozenset[str] = frozenset()

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        """Called once before a task's first update, and on every resume within it, before `load_state_dict`.

        Makes the tuner's own nets and notes the model that the task starts from; raises UserError for options
        that do not fit the task.
        """

    def parameters(self) -> Iterable[nn.Parameter]:
        """Its own flow or value nets: an optimizer group of their own."""
        return []

    def holds(self, steps: int, guided: int) -> Held:
        """What a micro-batch keeps for its backward calls at once, for each of its prompts.

        Args:
            steps: of the sampler.
            guided: denoiser evaluations of a prediction as the sampler makes it: 2 with guidance, 1 without.
        """
        return Held(guided, together=False)

    def accumulate(
        self,
        model: DiffusionModel,
        prompts: list[str],
        task: Task,
        penalty: Penalty | None,
        draws: Draws,
        share: float,
    ) -> Log:
        """Sample and score one micro-batch, and add its gradients to what trains (it calls backward itself).

        Back-propagates share * (mean loss of its samples + mean of penalty(prediction) over its graded
        calls).

        Args:
            prompts: N.
            penalty: the method's loss on one graded noise prediction, a scalar or None; None for no such loss.
            draws: N samples.
            share: the micro-batch's part of the update, N / N of the update.
        """
        raise NotImplementedError

    def after_update(self, model: DiffusionModel) -> None:
        """Called after each optimizer step."""

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back a `state_dict`."""
