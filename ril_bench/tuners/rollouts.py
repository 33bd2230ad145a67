"""For tuners that learn from their own rollouts: trajectories, a buffer, a base class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, sample
from ril_bench.diffusion.steps import Sampler
from ril_bench.draws import Draws, Key
from ril_bench.machine.parallel import team
from ril_bench.tuners.base import Cost, MicroBatch, Task, Tuner
from ril_bench.tuners.nets import seeded
from ril_bench.tuners.reference import ReferenceModel, ReferenceName


@dataclass(frozen=True)
class Trajectory:
    """A rollout without gradient, and the scores of its images.

    Attributes:
        x: (T + 1, N, C, h, w): the latents before each step, and x_0; or x_0 alone, (1, N, C, h, w).
        outputs: (T, N, C, h, w): the guided output of the denoiser at each step; or (0, N, C, h, w).
        reward: (N,), signed, in sigma.
        first: the first step with noise.
    """

    x: Tensor
    outputs: Tensor
    reward: Tensor
    first: int = 0

    @property
    def x0(self) -> Tensor:
        """The latents of the images (N, C, h, w)."""
        return self.x[-1]

    def of_sample(self, k: int) -> dict[str, Any]:
        """The trajectory of sample k alone, as plain tensors and values."""
        tensors = {"x": self.x[:, k], "outputs": self.outputs[:, k], "reward": self.reward[k]}
        return {**{name: tensor.clone() for name, tensor in tensors.items()}, "first": self.first}

    @staticmethod
    def of_samples(parts: Sequence[Mapping[str, Any]], device: torch.device) -> Trajectory:
        """The trajectory of several samples of one update, from what `of_sample` returned for each."""
        x, outputs = (
            torch.stack([part[name] for part in parts], dim=1).to(device) for name in ("x", "outputs")
        )
        reward = torch.stack([part["reward"] for part in parts]).to(device)
        return Trajectory(x, outputs, reward, parts[0]["first"])


@torch.no_grad()
def sample_trajectory(
    model: DiffusionModel,
    task: Task,
    prompts: list[str],
    draws: Draws,
    *,
    sampler: Sampler | None = None,
    first: int = 0,
    images_only: bool = False,
) -> Trajectory:
    """Samples one image for each prompt, and keeps all steps.

    Takes T calls of the denoiser, one decoding and one call of the reward.

    Args:
        sampler: replaces the task's sampler.
        first: its first step with noise.
        images_only: keep x_0 alone.
    """
    steps: list[Prediction] = []
    keep = None if images_only else steps.append
    x0 = sample(model, sampler or task.sampler, prompts, draws, guidance=task.guidance, on_step=keep)
    return Trajectory(
        x=torch.stack([*(step.x_t for step in steps), x0]),
        outputs=torch.stack([step.output for step in steps]) if steps else x0.new_zeros(0, *x0.shape),
        reward=task.reward(model.decode(x0), prompts),
        first=first,
    )


class RolloutBuffer:
    """Trajectories that `reuse` updates use; then new ones are sampled.

    They are stored by sample, so what is stored depends neither on the micro-batches nor on the number of processes. If
    the update raises another reward than the trajectory was scored with, a new trajectory is sampled.
    """

    def __init__(self, reuse: int):
        self._reuse = reuse
        self._stored: dict[Key, dict[str, Any]] = {}
        self._used: set[Key] = set()

    def trajectories(
        self,
        task: Task,
        batch: MicroBatch,
        sampled: Callable[[], list[Trajectory]],
        *,
        store: bool,
        device: torch.device,
    ) -> tuple[MicroBatch, list[Trajectory]]:
        """A trajectory for each copy, and the micro-batch with the prompts of the trajectories.

        A stored trajectory keeps the prompt that it was sampled for.

        Args:
            sampled: samples a trajectory for each copy.
            store: whether to store new trajectories even if no later update uses them.
            device: the device of the returned tensors; a checkpoint holds them on the CPU.
        """
        keys = batch.draws.samples
        if not all(key in self._stored and self._stored[key]["reward"] == task.name for key in keys):
            new = sampled()
            if self._reuse == 1 and not store:
                return batch, new
            for k, (key, prompt) in enumerate(zip(keys, batch.prompts, strict=True)):
                self._stored[key] = {
                    "reward": task.name,
                    "uses_left": self._reuse,
                    "prompt": prompt,
                    "copies": [trajectory.of_sample(k) for trajectory in new],
                }
        self._used |= set(keys)
        found = [self._stored[key] for key in keys]
        copies = range(len(found[0]["copies"]))
        stored = [Trajectory.of_samples([entry["copies"][j] for entry in found], device) for j in copies]
        return replace(batch, prompts=[entry["prompt"] for entry in found]), stored

    def end_update(self) -> None:
        """Counts one use of every trajectory that the update used, and drops those that are used up.

        `trajectories` does not count the use itself, as an update that runs out of memory is repeated.
        """
        for key in self._used:
            uses_left = self._stored[key]["uses_left"] - 1
            self._stored[key] = {**self._stored[key], "uses_left": uses_left}
            if uses_left == 0:
                del self._stored[key]
        self._used = set()

    def is_empty(self) -> bool:
        """Whether no process holds a trajectory, so that the next update samples new ones."""
        return not any(team().gathered(lambda: bool(self._stored)))

    def state(self) -> list[Any]:
        """The trajectories of all processes, for a resume, which may have another number of processes."""
        own = [[sample, entry] for sample, entry in self._stored.items()]
        return [row for rows in team().gathered(lambda: own) for row in rows]

    def load_state(self, state: list[Any]) -> None:
        """Restores the part of what `state` returned that belongs to this process's samples."""
        self._stored = {sample: entry for sample, entry in state if team().owns(sample)}


class RolloutTuner(Tuner):
    """A tuner that learns from trajectories, with a reference model and possibly its own network.

    `_reference`, `_net` and `_buffer` exist from `start_task` on.
    """

    class Options(Tuner.Options):
        reuse: Annotated[int, Field(ge=1, strict=True)] = 1
        """Number of updates that use the same images."""
        reference: ReferenceName = "previous"
        """The reference model; the papers have one task, where both names mean the same model."""

    options: Options

    @property
    def copies(self) -> int:
        """Images of each prompt."""
        return 1

    @property
    def compares_batch(self) -> bool:
        """Whether the loss needs the rewards of the whole batch, in `batch.rewards`."""
        return False

    def rollouts_cost(self, steps: int, guided: int) -> Cost:
        """What the rollouts cost for each prompt; `reuse` updates share them."""
        images = self.copies / self.options.reuse
        return Cost(guided * images * steps, images=images)

    def sample_copy(self, model: DiffusionModel, task: Task, batch: MicroBatch, j: int) -> Trajectory:
        """Samples copy j of each prompt."""
        return sample_trajectory(model, task, batch.prompts, batch.draws.copy(j))

    def trajectories(
        self, model: DiffusionModel, task: Task, batch: MicroBatch
    ) -> tuple[MicroBatch, list[Trajectory]]:
        """The trajectory of each copy, new or stored, and the micro-batch with the prompts of the trajectories."""

        def sampled() -> list[Trajectory]:
            return [self.sample_copy(model, task, batch, j) for j in range(self.copies)]

        return self._buffer.trajectories(task, batch, sampled, store=self.compares_batch, device=model.device)

    def score(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Tensor | None:
        if not self.compares_batch:
            return None
        _, copies = self.trajectories(model, task, batch)
        return torch.stack([copy.reward for copy in copies])

    def auxiliary_net(self, model: DiffusionModel) -> nn.Module | None:
        """The network that is trained beside the model, if any.

        It is called with torch seeded by the task's key.
        """
        return None

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._reference = ReferenceModel(model, self.options.reference)
        with seeded(task.key, "net"):
            self._net = self.auxiliary_net(model)
        self._buffer = RolloutBuffer(self.options.reuse)

    def parameters(self) -> Iterable[nn.Parameter]:
        return self._net.parameters() if self._net is not None else []

    def after_update(self, model: DiffusionModel) -> None:
        self._buffer.end_update()

    def state_dict(self) -> dict[str, Any]:
        return {
            "reference": self._reference.lora,
            "net": self._net.state_dict() if self._net is not None else {},
            "buffer": self._buffer.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._reference.lora = dict(state["reference"])
        if self._net is not None:
            self._net.load_state_dict(state["net"])
        self._buffer.load_state(state["buffer"])
