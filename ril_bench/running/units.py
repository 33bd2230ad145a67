"""The units in which tuners see rewards, measured on images of the pretrained model.

A tuner sees (r - b) / sigma, so that learning rates, strengths, caps and temperatures mean the same for every reward.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ril_bench.errors import NumericalError, RewardError, SequenceError
from ril_bench.machine.parallel import team
from ril_bench.running import provenance
from ril_bench.running.fixed_images import fixed_prompts, fixed_scores
from ril_bench.running.inputs import unit_key
from ril_bench.running.materials import Materials
from ril_bench.running.reward_task import RewardTask, Unit
from ril_bench.running.team_cache import cached_by_team
from ril_bench.sequences.spec import Sequence, TaskSpec
from ril_bench.storage.cache import Files

Record = Mapping[str, Mapping[str, float]]

KIND, SCORES = "units", "scores.json"  # the folder of the cache, and the file in it
#: a deviation that is smaller than this part of the mean is rounding
ROUNDING = 1e-6


class Units:
    """The units of a sequence's tasks, and the scores that they are computed from.

    Attributes:
        scores: the pretrained model's scores (n,) of its fixed images, by the name of the task, in the reward's unit.
            A task that states its unit may have none.
        units: the unit of each task, by its name.

    Args:
        recorded: what `record` returned when the run began; None to compute the units.

    Raises UserError for a reward that has the same score on all images.
    """

    def __init__(self, materials: Materials, recorded: Record | None = None):
        self._materials, sequence = materials, materials.sequence
        self._measured: dict[tuple[str, int], dict[str, Tensor]] = {}  # by prompt set and number of images
        self.scores = {
            task.name: self._scores(task) for task in sequence.tasks if sequence.fixed_images(task)
        }
        self.units = {
            task.name: Unit(recorded[task.name]["b"], recorded[task.name]["sigma"])
            if recorded
            else unit_of(sequence, i, self.scores.get(task.name))
            for i, task in enumerate(sequence.tasks, 1)
        }

    def record(self) -> Record:
        """The units as run.json holds them; `images` is 0 for a unit that the sequence states."""
        sequence = self._materials.sequence
        return {
            task.name: {
                "b": self.units[task.name].b,
                "sigma": self.units[task.name].sigma,
                "images": sequence.unit_images if task.unit is None else 0,
            }
            for task in sequence.tasks
        }

    def task(self, j: int, *, step: int, seed: int) -> RewardTask:
        """Task j with its unit, as it is trained in step `step` of a run."""
        unit = self.units[self._materials.sequence.task(j).name]
        return self._materials.task(j, step=step, seed=seed, unit=unit)

    def deviation(self, j: int) -> float:
        """The deviation of task j's reward over images of the pretrained model, also where the task states a unit."""
        task = self._materials.sequence.task(j)
        if task.unit is None:
            return self.units[task.name].sigma
        return measured_unit(self._materials.sequence, j, self.scores[task.name]).sigma

    def _scores(self, task: TaskSpec) -> Tensor:
        files = cached_by_team(KIND, self._key(task), lambda: self._computed(task))
        return torch.tensor(team().from_main(lambda: json.loads(files[SCORES])), dtype=torch.float64)

    def _computed(self, task: TaskSpec) -> Files:
        materials, sequence = self._materials, self._materials.sequence
        group = task.prompts.train, sequence.fixed_images(task)
        if group not in self._measured:  # all rewards of a prompt set score the same images
            named = [
                other.name
                for other in sequence.tasks
                if (other.prompts.train, sequence.fixed_images(other)) == group
            ]
            with materials.model.folded({}):
                try:
                    self._measured[group] = fixed_scores(
                        materials.model,
                        materials.evaluator.sampler,
                        sequence.sampler.guidance,
                        materials.train_prompts[task.prompts.train],
                        {name: materials.rewards[name] for name in named},
                        sequence.fixed_images(task),
                    )
                except NumericalError as error:
                    raise RewardError(
                        error.what,
                        where=error.where,
                        hint="no training made these images, so fix the reward: ril-bench check FILE tests it",
                    ) from error
        return {SCORES: json.dumps(self._measured[group][task.name].tolist()).encode()}

    def _key(self, task: TaskSpec) -> dict[str, Any]:
        """Everything that the scores depend on."""
        materials, n = self._materials, self._materials.sequence.fixed_images(task)
        prompts = fixed_prompts(materials.train_prompts[task.prompts.train], n)
        hardware = provenance.hardware(materials.model.device, materials.compute)
        return unit_key(materials.sequence, materials.inputs, task.name, prompts, hardware)


def unit_of(sequence: Sequence, i: int, scores: Tensor | None) -> Unit:
    """The unit of task i: the stated one, or the measured one."""
    task = sequence.task(i)
    if task.unit is not None:
        return Unit(0.0, task.unit)
    assert scores is not None, "a unit that is not stated is measured"
    return measured_unit(sequence, i, scores)


def measured_unit(sequence: Sequence, i: int, scores: Tensor) -> Unit:
    """The mean and the deviation of the pretrained model's scores (n,) of task i.

    Raises UserError where the deviation is zero, or not finite.
    """
    task = sequence.task(i)
    values = scores[: sequence.unit_images]
    b, sigma = values.mean().item(), values.std().item()
    if not ROUNDING * abs(b) < sigma < float("inf"):
        raise SequenceError(
            f"{task.name} has no deviation over {len(values)} images of the pretrained model (mean {b:.4g}, "
            f"deviation {sigma:.4g}), so it has no unit",
            where=f"tasks.{i}",
            hint="choose another reward or other training prompts, or state a unit: `unit: 1.0`",
        )
    return Unit(b, sigma)
