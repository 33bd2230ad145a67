"""The model of a sequence (tasks/NAME.yaml), typed and resolved.

A sequence states everything that its results depend on: nothing that changes them has a default. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from ril_bench import registry
from ril_bench.config.validation import Part
from ril_bench.sequences.paths import as_written
from ril_bench.storage.digests import sha256_json
from ril_bench.worlds.table import WORLDS, World, world_of

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # it names folders and files


class Prompts(Part):
    """Prompt sets to train on and to evaluate with; see ril_bench.data.prompts for what a reference may be."""

    train: str
    eval: str


class TrainPrompts(Part):
    """A task's own prompts; those of the evaluation are the sequence's."""

    train: str


class Sampler(Part):
    """The DDIM sampler, the same in training and evaluation; guidance 1 is none, eta 1 is ancestral."""

    steps: Count
    guidance: Annotated[float, Field(ge=1)]
    eta: Annotated[float, Field(ge=0, le=1)]


class AdapterOptions(Part):
    """The LoRA that a method trains: its scale is alpha / rank; targets are the ends of the names of linear
    layers.
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
    """AdamW's; a new optimizer for each task."""

    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Positive


class Budget(Part):
    """What a task may spend: updates of `batch` samples; micro_batch bounds how many are held at once (null:
    all). With a bound on the calls that run.json counts, the task ends after the update that reaches one: what
    makes tuners comparable whose updates cost differently.
    """

    omitted_if_none = frozenset({"denoiser_forwards", "denoiser_backwards", "reward_calls"})

    updates: Count
    batch: Count
    micro_batch: Count | None = None
    denoiser_forwards: Count | None = None
    denoiser_backwards: Count | None = None
    reward_calls: Count | None = None

    @property
    def bounds(self) -> dict[str, int]:
        """The calls that are bounded, by run.json's names."""
        return self.model_dump(include=set(self.omitted_if_none))


class TaskSpec(Part):
    """A task with everything resolved: what it does not override is the sequence's."""

    reward: str
    prompts: TrainPrompts
    tuner: TunerSpec
    optimizer: Optimizer
    budget: Budget

    @property
    def name(self) -> str:
        """The reward's: for a path, its last part."""
        return registry.short_name(self.reward)


class EvaluationSpec(Part):
    """The first `prompts` prompts of the set, each with `images_per_prompt` fixed latents drawn from
    `seed`; with `every`, also after each so many updates of a task, for the anytime figures.
    """

    omitted_if_none = frozenset({"every"})

    prompts: Count
    images_per_prompt: Count
    seed: Annotated[int, Field(ge=0)]
    probes: list[str] = Field(default=[])
    every: Count | None = None


#: what a task takes over from the sequence
INHERITED = ("prompts", "tuner", "optimizer", "budget")


class Sequence(Part):
    """Reward tasks in order, on one model, with one budget and one evaluation. Tasks hold what they
    inherit.
    """

    omitted_if_none = frozenset({"world"})

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
    tasks: Annotated[list[TaskSpec], Field(min_length=1)]
    evaluation: EvaluationSpec

    # The file, to look for a calibration beside it, and its paths as they are written there: no part of the content.
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
        """The world that the model draws in: what the names of rewards mean, and what images are measured with."""
        return WORLDS[self.world] if self.world else world_of(self.model)

    def reward(self, name: str) -> Any:
        """The class of the reward of that name. Raises UserError where it cannot be loaded."""
        return registry.load("reward", self.rewards[name], self.home)

    @property
    def order(self) -> list[str]:
        """The names of the tasks' rewards, in order."""
        return [task.name for task in self.tasks]

    @property
    def probes(self) -> list[str]:
        """The names of the rewards that are only watched."""
        return [registry.short_name(reference) for reference in self.evaluation.probes]

    @property
    def rewards(self) -> dict[str, str]:
        """Every reward by name, and what the sequence calls it (a name or a path); tasks first, then probes."""
        references = [*(task.reward for task in self.tasks), *self.evaluation.probes]
        return {registry.short_name(reference): reference for reference in references}

    def task(self, i: int) -> TaskSpec:
        """Task i, from 1: it leads from step i - 1 to step i. IndexError if there is none."""
        if not 1 <= i <= len(self.tasks):
            raise IndexError(f"task {i} of {len(self.tasks)}")
        return self.tasks[i - 1]

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the resolved sequence.

        Layout, comments and spelled-out defaults do not change it, nor does the folder that the file lies in.
        """
        return sha256_json(as_written(self.model_dump(mode="json"), self._written))


def _resolved(task: Any, sequence: Mapping[str, Any]) -> Any:
    """A task's mapping over the sequence's; the options of a tuner go with its name."""
    if not isinstance(task, Mapping):
        return task
    whole = dict(task)
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
