"""The typed and resolved content of a sequence (tasks/NAME.yaml).

A sequence states everything that its results depend on: a setting that changes results has no default. This
module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from ril_bench import registry
from ril_bench.config.validation import Part
from ril_bench.sequences.paths import as_written
from ril_bench.storage.digests import sha256_json
from ril_bench.worlds.table import WORLDS, World, world_of

LEAST_ETA = 0.001  # above 0
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$")
]  # a valid name of folders and files


class Prompts(Part):
    """The prompt sets for training and evaluation; see `data.prompts` for the references."""

    train: str
    eval: str


class TrainPrompts(Part):
    """A task's training prompts; the evaluation prompts are those of the sequence."""

    train: str


class Sampler(Part):
    """The sampler of training and evaluation: DDIM, or Euler steps where the model matches a flow.

    Guidance 1 means no guidance; eta 1 means ancestral sampling, and eta 0 steps without noise. `size` is the side of
    the images in pixels (null: the size that the model was trained on).
    """

    omitted_if_none = frozenset({"size"})

    steps: Annotated[int, Field(ge=2)]  # one step from pure noise gives no image
    guidance: Annotated[float, Field(ge=1)]
    eta: Annotated[float, Field(ge=0, le=1)]
    size: Annotated[int, Field(ge=16, le=8192)] | None = None

    @field_validator("eta")
    @classmethod
    def _noise_to_divide_by(cls, value: float) -> float:
        if 0 < value < LEAST_ETA:
            raise ValueError(
                f"the noise of a step, by which KLs divide, vanishes: choose 0, or {LEAST_ETA} to 1"
            )
        return value


class AdapterOptions(Part):
    """The LoRA that a method trains; its scale is alpha / rank.

    Targets are endings of the names of linear layers.
    """

    rank: Count
    alpha: Positive
    targets: Annotated[list[str], Field(min_length=1)]


class TunerSpec(BaseModel):
    """A tuner and its options, which the tuner itself checks."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Optimizer(Part):
    """The options of AdamW. Each task has a new optimizer."""

    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Positive


class Until(Part):
    """A criterion: a task ends as soon as it has gained `gain` sigma over the pretrained model.

    The gain is estimated on the first `images` fixed images of training prompts, at most `every` updates after the last
    estimate.
    """

    gain: Positive
    images: Annotated[int, Field(ge=2)] = 32
    every: Count = 5


class Budget(Part):
    """The budget of a task: at most `updates` updates of `batch` samples.

    With `until`, the task ends as soon as its criterion is met; a number is the gain, in sigma.

    micro_batch is the largest number of samples in memory at once (null: all). The other fields bound the
    calls that run.json counts: the task ends after the update that reaches a bound. Bounds make tuners
    comparable whose updates have different costs.
    """

    omitted_if_none = frozenset({"until", "denoiser_forwards", "denoiser_backwards", "reward_calls"})

    updates: Count
    batch: Count
    until: Until | None = None
    micro_batch: Count | None = None
    denoiser_forwards: Count | None = None
    denoiser_backwards: Count | None = None
    reward_calls: Count | None = None

    @field_validator("until", mode="before")
    @classmethod
    def _gain_alone(cls, value: Any) -> Any:
        if value is None or isinstance(value, Mapping | Until):
            return value
        return {"gain": value}

    @property
    def bounds(self) -> dict[str, int]:
        """The bounds on calls, by the names of the calls in run.json."""
        return self.model_dump(include={"denoiser_forwards", "denoiser_backwards", "reward_calls"})


class UnitSpec(Part):
    """How the units of rewards are measured: over the pretrained model's images of training prompts."""

    images: Annotated[int, Field(ge=2)]


class TaskSpec(Part):
    """A task with all its settings: its own, or else those of the sequence.

    A tuner sees differences of scores divided by `unit`, in the reward's unit. null: the deviation of the
    reward over images of the pretrained model; the tuner then also sees the mean of these images as 0.
    """

    omitted_if_none = frozenset({"unit"})

    reward: str
    prompts: TrainPrompts
    tuner: TunerSpec
    optimizer: Optimizer
    budget: Budget
    unit: Positive | None = None

    @property
    def name(self) -> str:
        """The name of the reward; for a path, the last part without its suffix."""
        return registry.short_name(self.reward)


class EvaluationSpec(Part):
    """The evaluation: the first `prompts` prompts, with `images_per_prompt` images each.

    Latents are fixed and drawn from `seed`. With `every`, the model is also evaluated after every `every`
    updates of a task, for the anytime metrics. With `scales`, each step's adapter is also evaluated at these
    scales: 1 is the step itself, 0 the pretrained model.
    """

    omitted_if_none = frozenset({"every", "scales"})

    prompts: Annotated[int, Field(ge=2)]  # deviations over prompts need two
    images_per_prompt: Count
    seed: Annotated[int, Field(ge=0)]
    probes: list[str] = Field(default=[])
    every: Count | None = None
    scales: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)] | None = None

    @property
    def inner_scales(self) -> list[float]:
        """The scales that need an evaluation of their own: those between 0 and 1, ascending, each once."""
        return sorted({scale for scale in self.scales or [] if 0 < scale < 1})


#: keys that a task inherits from the sequence
INHERITED = ("prompts", "tuner", "optimizer", "budget", "unit")
#: the images on which units are measured, if the sequence does not state how many; a deviation is then known
#: to 6%
UNIT_IMAGES = 128


class Sequence(Part):
    """Reward tasks in order, on one model, with one evaluation. Tasks hold what they inherit."""

    omitted_if_none = frozenset({"world", "unit", "units"})

    name: Name
    version: Count
    model: str
    world: str | None = None
    calibration: Name | None = None
    prompts: Prompts
    sampler: Sampler
    adapter: AdapterOptions
    tuner: TunerSpec
    optimizer: Optimizer
    budget: Budget
    unit: Positive | None = None
    units: UnitSpec | None = None
    tasks: Annotated[list[TaskSpec], Field(min_length=1)]
    evaluation: EvaluationSpec

    # The path of the file (a calibration is beside it), and the paths as they are written in the file. They
    # are not a part of the content.
    _file: Path | None = PrivateAttr(default=None)
    _written: dict[str, str] = PrivateAttr(default={})

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not isinstance(data.get("tasks"), list):
            return data
        return {**data, "tasks": [_resolved(task, data) for task in data["tasks"]]}

    @property
    def home(self) -> World:
        """The world of the model's images. It decides the rewards by name and the feature networks."""
        return WORLDS[self.world] if self.world else world_of(self.model)

    def reward(self, name: str) -> Any:
        """The class of the reward with this name. Raises UserError where it cannot be loaded."""
        return registry.load("reward", self.rewards[name], self.home)

    @property
    def order(self) -> list[str]:
        """The names of the tasks' rewards, in order."""
        return [task.name for task in self.tasks]

    @property
    def probes(self) -> list[str]:
        """The names of the rewards that are evaluated but not trained."""
        return [registry.short_name(reference) for reference in self.evaluation.probes]

    @property
    def rewards(self) -> dict[str, str]:
        """Every reward's name, and its name or path in the sequence; tasks first, then probes."""
        references = [*(task.reward for task in self.tasks), *self.evaluation.probes]
        return {registry.short_name(reference): reference for reference in references}

    def task(self, i: int) -> TaskSpec:
        """Task i, counted from 1, which trains step i from step i - 1. Raises IndexError if none."""
        if not 1 <= i <= len(self.tasks):
            raise IndexError(f"task {i} of {len(self.tasks)}")
        return self.tasks[i - 1]

    @property
    def unit_images(self) -> int:
        """The number of the pretrained model's images on which units are measured."""
        return self.units.images if self.units else UNIT_IMAGES

    def fixed_images(self, task: TaskSpec) -> int:
        """The number of the pretrained model's images that a task needs before its first update."""
        until = task.budget.until
        return max(self.unit_images if task.unit is None or until else 0, until.images if until else 0)

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the resolved sequence.

        Layout, comments, explicit defaults and the folder of the file do not change it.
        """
        return sha256_json(as_written(self.model_dump(mode="json"), self._written))


def _resolved(task: Any, sequence: Mapping[str, Any]) -> Any:
    """A task's mapping with the keys that it inherits; another tuner inherits no options."""
    if not isinstance(task, Mapping):
        return task
    whole = {"unit": sequence.get("unit"), **task}
    for part in INHERITED:
        base, own = sequence.get(part), task.get(part, {})
        if not isinstance(base, Mapping) or not isinstance(own, Mapping):
            continue
        if part == "prompts":
            base = {key: value for key, value in base.items() if key == "train"}
        if part == "tuner" and own.get("name", base.get("name")) != base.get("name"):
            base = {}
        whole[part] = {**base, **own}
    return whole
