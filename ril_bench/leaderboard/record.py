"""The required content of run.json and method.yaml, typed. All text that a page shows has a length limit here."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from ril_bench.config.characters import has_characters
from ril_bench.config.validation import Part, validated
from ril_bench.config.yaml_source import read_source
from ril_bench.errors import UserError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9=.,+_-]*$", max_length=120)]
#: what no text may hold: control characters other than a tab and the end of a line, and those that turn the direction
#: of what follows on a page
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
MAX_LINE = 300
#: marks on one letter; more of them lie over the lines above and below
MARKS = 5


def _readable(text: str) -> str:
    """Text that changes nothing around it on a page; ValueError otherwise."""
    if found := HIDDEN.search(text):
        raise ValueError(f"it holds the character U+{ord(found[0]):04X}, which a reader cannot see")
    marks = 0
    for letter in text:
        marks = marks + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        if marks > MARKS:
            raise ValueError(f"it has more than {MARKS} marks on one letter")
    return text


def _one_line(text: str) -> str:
    if not has_characters(text) or set(text) & set("\n\t"):
        raise ValueError("it must be one line, with something to read in it")
    return text


Text = Annotated[str, AfterValidator(_readable)]
Line = Annotated[Text, Field(max_length=MAX_LINE), AfterValidator(_one_line)]
Link = Annotated[str, Field(max_length=300, pattern=r"^https?://[^\s<>\"']+$")]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=10**15)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]

LEAST_SEEDS = 3


class Trials(Part):
    """How often the method was run before the submitted runs: without it a reader cannot judge a metric."""

    tuned: Count  # runs that chose its options, on any sequence
    private: Count  # other runs on the sequences entered that are not submitted
    how: Annotated[Text, Field(min_length=1, max_length=1000)]


class MethodCard(Part):
    """method.yaml, written by hand: who made a method, where it is explained, how it was tuned.

    seeds: how many, from 0, are submitted of a sequence, order and tuner at most; oracle: whether it uses what reward
    incremental learning forbids (older rewards, all tasks at once).
    """

    authors: Annotated[list[Line], Field(min_length=1, max_length=50)]
    paper: Link | None
    code: Link | None
    licence: Line
    description: Line
    oracle: bool
    seeds: Annotated[int, Field(ge=LEAST_SEEDS, le=100)]
    trials: Trials


class Record(Part):
    """A part of a file that a program wrote; other keys are allowed and ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class WholeRecord(Record):
    """A part without other keys: reports read these files too, and an unknown key would reach them unchecked."""

    model_config = ConfigDict(extra="forbid")


class SequenceRecord(Record):
    """The name and version; the rule `sequence` compares the whole with the official sequence."""

    name: Name
    version: int


class MethodRecord(Record):
    name: Name
    label: Label | None
    options: dict[str, Any]
    resolved: dict[str, Any]
    file_sha256: Sha | None
    oracle: bool
    doc: Annotated[Text, Field(max_length=500)]


class TunerRecord(Record):
    name: Name
    options: dict[str, Any]


class TaskTunerRecord(Record):
    """The tuner of a task, with the values of all its options."""

    name: Name
    resolved: dict[str, Any]


class StepRecord(WholeRecord):
    step: Count
    reward: Name | None
    train_seconds: Seconds
    evaluation_seconds: Seconds
    denoiser_forwards: Count
    denoiser_backwards: Count
    reward_calls: Count
    peak_memory_bytes: Count
    trainable_bytes: Count
    stored_bytes: Count
    carried_bytes: Count
    updates: Count | None = None
    consolidation_updates: Count = 0
    met: bool | None = None
    gain: dict[Name, float] | None = None
    shared: bool = False
    training_calls: list[Any] | None = None
    evaluation_calls: list[Any] | None = None


class CalibrationRecord(Record):
    file: Name
    sha256: Sha


class GitRecord(Record):
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}$")]
    dirty: bool


class HardwareRecord(WholeRecord):
    cpu: Annotated[Text, Field(max_length=200)]
    cores: int | None
    threads: Count
    gpu: Annotated[Text, Field(max_length=200)] | None
    compute: Annotated[dict[Name, Annotated[Text, Field(max_length=40)]], Field(max_length=20)]
    processes: Count = 1


class RunRecord(WholeRecord):
    """run.json."""

    schema_version: Literal[1]
    status: Annotated[Text, Field(max_length=20)]
    failure: None
    sequence: SequenceRecord
    sequence_sha256: Sha
    sequence_reference: Annotated[Text, Field(max_length=300)]
    order: Name
    method: MethodRecord
    tuner: TunerRecord
    # Entries of earlier versions have none.
    tuners: Annotated[list[TaskTunerRecord], Field(max_length=1000)] | None = None
    seed: Count
    official: bool
    comparable: bool
    steps: Annotated[list[StepRecord], Field(max_length=1000)]
    cost: dict[str, Seconds | bool] | None
    calibration: CalibrationRecord | None
    device: Annotated[Text, Field(max_length=40)]
    versions: Annotated[dict[Name, Annotated[Text, Field(max_length=80)]], Field(max_length=100)]
    git: GitRecord | None
    hardware: HardwareRecord
    weights: Annotated[dict[Annotated[Text, Field(max_length=300)], Sha], Field(max_length=1000)]
    started: Annotated[Text, Field(max_length=40)]
    finished: Annotated[Text, Field(max_length=40)]
    method_reference: Annotated[Text, Field(max_length=1000)] | None = None
    purpose: Annotated[Text, Field(max_length=50)] = "result"
    inputs: dict[str, Any] | None = None
    units: dict[str, Any] | None = None
    micro_batch: Count | None = None
    log_lines_lost: Count | None = None


MetricValues = dict[str, float | None]


class FidelityRecord(Record):
    convention: dict[str, Any] | None
    floor: float | None
    kid_floor: float | None
    biased: bool
    steps: list[MetricValues]


class WorstRecord(Record):
    step: Count
    prompt_id: Name
    prompt: Annotated[Text, Field(max_length=2000)]
    ssim_to_0: float


class StructureRecord(Record):
    convention: dict[str, Any]
    floor: MetricValues
    steps: list[MetricValues]
    worst: Annotated[list[WorstRecord], Field(max_length=1000)]


class DiversityRecord(Record):
    convention: dict[str, Any]
    second_seed: MetricValues | None
    steps: list[MetricValues]


class DriftRecord(Record):
    convention: dict[str, Any]
    steps: list[MetricValues]


class ScaleRecord(Record):
    """Rewards of a step's adapter at one scale."""

    step: Count
    scale: float
    rewards: MetricValues


class MetricsRecord(WholeRecord):
    """metrics.json. The values of metrics of images are claims without the images, so only their form is checked.

    What follows from scores (`rewards` to `calibration`) is computed again by the check `metrics`.
    """

    schema_version: Any
    rewards: Any
    probes: Any
    units: Any
    directions: Any
    continual: Any
    retain: Any = None
    retain_excluded: Any = None
    anytime: Any = None
    resources: Any
    calibration: Any
    scales: Annotated[list[ScaleRecord], Field(max_length=10_000)] | None = None
    fidelity: FidelityRecord
    structure: StructureRecord
    diversity: DiversityRecord | None
    # Entries of earlier versions have no drift.
    drift: DriftRecord | None = None
    notes: Annotated[list[Annotated[Line, Field(max_length=1000)]], Field(max_length=20)]


def read_card(path: Path) -> MethodCard:
    """method.yaml; UserError with all its faults, each with its line, or where there is none."""
    if not path.is_file():
        raise UserError(
            "no method.yaml, so the authors and the tuning of this method are unknown",
            where=str(path),
            hint="ril-bench submit --template prints one to fill in",
        )
    return validated(MethodCard, read_source(path))
