"""The Tuner base class, and what every tuner uses: the task, a micro-batch, its losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ril_bench.config.options import Configurable
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction
from ril_bench.diffusion.states import State
from ril_bench.diffusion.steps import Sampler
from ril_bench.draws import Draws
from ril_bench.errors import MethodError, UserError
from ril_bench.machine.calls import place_of

#: a method's loss on one prediction of the model, a scalar, or None for no loss
Penalty = Callable[[Prediction], Tensor | None]


class Task(Protocol):
    """What a tuner and a method can see of a task.

    The evaluation's prompts and latents are not part of it.
    """

    @property
    def index(self) -> int:
        """The task's position in the sequence, counted from 1."""

    @property
    def name(self) -> str:
        """The name of the task's reward."""

    @property
    def key(self) -> tuple[str | int, ...]:
        """A key for random numbers that differs between seeds and between tasks; see `ril_bench.draws`."""

    @property
    def sampler(self) -> Sampler:
        """The sampler of the sequence: the number of steps, eta, and the tables that follow from them."""

    @property
    def guidance(self) -> float:
        """The guidance scale of the sequence; 1 for none."""

    def reward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (N,) of images (N, 3, H, W) in [0, 1], in sigma: (r - b) / sigma, turned so that higher is better.

        b and sigma are the mean and the deviation of the reward over the pretrained model's images of the task's
        training prompts, unless the sequence states the unit of the reward (then b is 0). So an option or a strength
        that is compared with the reward means the same for every reward.

        The scores keep the graph of the images where the reward is differentiable. Each call is counted.
        """

    def states(self, model: DiffusionModel, n: int) -> Iterator[State]:
        """Yields n states that the model visits on the task's training prompts, with gradient."""


@dataclass(frozen=True)
class MicroBatch:
    """A part of an update: N prompts whose images fit into memory together.

    Attributes:
        prompts: the N prompts.
        draws: the random numbers of the N samples.
        share: N / the batch size of the update; the gradients of all micro-batches add up to the update's.
        penalty: the method's loss on a prediction; None where there is no method.
        rewards: (copies, B), what `Tuner.score` returned for all B samples of the update; None where it returns None.
    """

    prompts: list[str]
    draws: Draws
    share: float = 1.0
    penalty: Penalty | None = None
    rewards: Tensor | None = None


@dataclass(frozen=True)
class Log:
    """What one micro-batch adds to the log line of its update: each value is multiplied by the micro-batch's share.

    Attributes:
        reward: mean of `task.reward` over the images; the log line has it in the reward's own unit.
        loss: the tuner's loss, without the penalty.
        penalty: the method's loss, averaged over the differentiated calls.
    """

    reward: float
    loss: float
    penalty: float

    def __add__(self, other: Log) -> Log:
        return Log(self.reward + other.reward, self.loss + other.loss, self.penalty + other.penalty)


class OpenGraphs(NamedTuple):
    """The graphs that a tuner keeps open at the same time, for each prompt; they decide its memory.

    Attributes:
        evaluations: denoiser evaluations whose graphs are open at the same time.
        together: whether the graphs of the decoder and of the reward are open at that time as well.
    """

    evaluations: int
    together: bool


@dataclass(frozen=True)
class Cost:
    """What an update costs for one prompt of its batch: counted calls, as means over updates.

    Attributes:
        evaluations: denoiser evaluations; a guided prediction is two.
        graded: those that are differentiated, to the weights or to the latents: each is a forward and a backward call.
        images: scored images; each of them is also decoded, or encoded if it is a given image.
        graded_images: those that are differentiated.
    """

    evaluations: float
    graded: float = 0.0
    images: float = 0.0
    graded_images: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __rmul__(self, times: float) -> Cost:
        return Cost(*(times * n for n in astuple(self)))


class LossAccumulator:
    """Runs the backward calls of one micro-batch and adds the method's penalty to them.

    `penalise` gets each differentiated prediction once. `backward` back-propagates

        share * (loss + sum of the penalties since the last backward / calls),

    so over the micro-batch the mean penalty is added, for any number of backward calls. The strength of a method
    therefore means the same for every tuner.

    Args:
        batch: the micro-batch.
        calls: the number of its differentiated predictions.
    """

    def __init__(self, batch: MicroBatch, calls: int):
        self._batch, self._calls = batch, calls
        self._pending: list[Tensor] = []
        self._penalty = 0.0

    def penalise(self, prediction: Prediction) -> None:
        """Computes the method's loss on a prediction; the next `backward` includes the loss."""
        if self._batch.penalty is not None and (value := self._batch.penalty(prediction)) is not None:
            self._pending.append(value)

    def backward(self, loss: Tensor) -> None:
        """Back-propagates a scalar loss of the tuner together with the pending penalties."""
        penalty = torch.stack(self._pending).sum() / self._calls if self._pending else torch.zeros_like(loss)
        self._pending = []
        (self._batch.share * (loss + penalty)).backward()  # type: ignore[no-untyped-call]
        self._penalty += penalty.item()

    def log(self, reward: float, loss: float) -> Log:
        """The log of the micro-batch, whose mean reward (as `task.reward` returns it) and mean loss are given."""
        # The penalty has a separate sum: total minus loss would lose its digits.
        share = self._batch.share
        return Log(reward=share * reward, loss=share * loss, penalty=share * self._penalty)


def differentiable_reward(task: Task, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """The signed scores (N,), in sigma, with the graph of the images (N, 3, H, W).

    Raises UserError where the reward keeps no gradient.
    """
    reward = task.reward(images, prompts)
    if images.requires_grad and not _depends_on(reward, images):
        raise UserError(
            "the tuner differentiates the reward, and this reward keeps no gradient",
            where="tuner",
            hint="choose a differentiable reward, or a tuner that needs only the reward's values",
        )
    return reward


def _depends_on(scores: Tensor, images: Tensor) -> bool:
    """Whether the graph of the scores contains the images. `scores.requires_grad` alone may be set by hand."""
    nodes, seen = [scores.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if node is images.grad_fn or getattr(node, "variable", None) is images:
            return True
        seen.add(node)
        nodes += [before for before, _ in node.next_functions]
    return scores is images


def capped_loss(reward: Tensor, cap: float | None) -> Tensor:
    """relu(cap - r), (N,): scores above the cap have no gradient; -r where there is no cap."""
    return -reward if cap is None else (cap - reward).relu()


class Tuner(Configurable):
    """Raises one reward: base class of all tuners.

    A subclass implements `accumulate` and, where it has options, a nested class `Options(Tuner.Options)`. Write it
    so that

    - every random number comes from the draws of the micro-batch, or from `ril_bench.draws.generator` under the
      task's key: results then do not depend on the micro-batches or on the number of processes;
    - several images of one prompt are copies of one sample, `batch.draws.copy(j)`, in the same micro-batch;
    - the tuner calls neither the optimizer nor the method: training does that between updates.

    The tuner counts nothing. The model counts the calls of the denoiser and of the autoencoder, and the task counts
    the calls of the reward.

    Attributes:
        needs: what a task must provide: "reward" (values of the reward), "reward_gradient" (a differentiable reward) or
            "images" (a set of images to learn from); and of the sampler "random_steps" (eta above 0) or
            "memoryless_steps" (eta 1). A sequence that does not provide it is refused before a model is loaded.
        options: the tuner's options, validated; `Tuner(**options)` raises UserError naming every wrong one.
    """

    needs: frozenset[str] = frozenset()

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        """Prepares for a task.

        Called before the task's first update, after the method's `start_task`. On a resume inside the task it is
        called again, before `load_state_dict`. It is also called once for every task before training begins, as a
        check, with a separate tuner object. Build the tuner's own networks here, and store the model that the task
        starts from (`ReferenceModel`). It must not change the model.

        Raises:
            UserError: the options do not fit the task.
        """

    def parameters(self) -> Iterable[nn.Parameter]:
        """The parameters of the tuner's own networks; none by default.

        They train in a separate optimizer group. Called after `start_task`.
        """
        return []

    def open_graphs(self, steps: int, guided: int) -> OpenGraphs:
        """The graphs that a micro-batch keeps open; `ril-bench doctor` estimates memory from them.

        Args:
            steps: steps of the sampler.
            guided: denoiser evaluations of one prediction with the sequence's guidance: 2, or 1 without guidance.
        """
        return OpenGraphs(guided, together=False)

    def update_cost(self, steps: int, guided: int) -> Cost:
        """What an update costs for each prompt; forecasts and `ril-bench doctor` compute evaluations and time from it.

        By default: one rollout, whose image is scored once, and of which the `open_graphs` are differentiated. The
        image is differentiated too if the tuner needs the gradient of the reward. A tuner that calls the denoiser more
        often must state it: `ril-bench check` compares the statement with the calls that are counted. What a tuner
        draws (steps, stops), or does only once in several updates, counts with its mean. Calls of networks of the
        tuner's own, and those of the method, do not count.

        Args:
            steps: steps of the sampler.
            guided: denoiser evaluations of one prediction with the sequence's guidance: 2, or 1 without guidance.
        """
        graded = self.open_graphs(steps, guided).evaluations
        return Cost(guided * steps, graded, 1, float("reward_gradient" in self.needs))

    def score(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Tensor | None:
        """Samples and scores one micro-batch before `accumulate`; for a loss that needs the scores of the whole batch.

        Called once for each micro-batch, before the first `accumulate` of an update. The scores of all micro-batches
        and processes come back in `batch.rewards`. Keep the images until `after_update`, by sample: the micro-batches
        of `accumulate` may be smaller, and after an error of memory the same samples are asked for again.

        Returns:
            The signed scores (copies, N) of N samples; or None, the default, where each micro-batch needs only its own
            scores.
        """
        return None

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        """Samples and scores one micro-batch, and adds the gradients of its loss.

        Called once for each micro-batch of an update. The tuner calls backward itself, through a `LossAccumulator`, on

            share * (mean loss of the samples + mean of penalty(prediction) over the differentiated calls).

        It must leave no graph open, no gradient on frozen weights, and no state that changes what a repeated call
        does: where the memory is too small, it is called again with the same samples in smaller micro-batches.

        Returns:
            The micro-batch's reward, loss and penalty; `LossAccumulator.log` computes them.
        """
        raise MethodError(
            f"the tuner {type(self).__name__} has no method `accumulate`",
            where=place_of(type(self), ""),
            hint="write def accumulate(self, model, task, batch), which returns a Log",
        )

    def after_update(self, model: DiffusionModel) -> None:
        """Called after each optimizer step and the method's `after_update`: the next update finds the model so."""

    def state_dict(self) -> dict[str, Any]:
        """All that a resume inside a task needs besides the adapters and the optimizer.

        Returns:
            Tensors and plain values (numbers, strings, None), in dicts, lists and tuples.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned. Called after `start_task`, before the next update."""


class RewardGradientTuner(Tuner):
    """A tuner that differentiates the reward: the base class of all that do."""

    class Options(Tuner.Options):
        cap: float | None = None
        """Scores above the cap have no gradient, so no image is pushed beyond it; in sigma above the pretrained model's
        mean. null: no cap."""

    options: Options
    needs = frozenset({"reward_gradient"})

    def reward_loss(self, reward: Tensor) -> Tensor:
        """The loss (N,) of scores (N,): -r, or relu(cap - r)."""
        return capped_loss(reward, self.options.cap)
