"""The calibration of a sequence, NAME.calibration.json: the scale of each reward, and what the sequence can show.

Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from ril_bench import registry
from ril_bench.config.validation import Part, validated
from ril_bench.config.yaml_source import read_source
from ril_bench.errors import UserError
from ril_bench.sequences.spec import Count, Name, Sequence


class RewardCalibration(Part):
    """The scale of a reward on a sequence: its scores at step 0 and after single-task tuning.

    Values are in the unit of the reward, unsigned. Probes are never tuned, so they have no u.

    Attributes:
        b: mean at step 0.
        sigma: standard deviation over prompts at step 0.
        u: mean of `seeds`.
        se: standard error of u.
        seeds: the score after tuning on this reward alone, for each seed.
        refused: why the reward has no unit of N; None where it has one.
    """

    omitted_if_none = frozenset({"refused"})

    direction: Literal[-1, 1]
    unit: str
    b: float
    u: float | None = None
    sigma: Annotated[float, Field(ge=0)]
    se: Annotated[float, Field(ge=0)] | None = None
    seeds: list[float] = Field(default=[])
    refused: str | None = None


class PropertyRecord(Part):
    """A property of the sequence, as measured; `metrics.properties` defines the properties.

    Attributes:
        value: None where it is not finite, or not measured.
        bound: None for a property that is only reported.
        holds: whether the value is within the bound; None where that is not known.
        parts: the values from which `value` is computed, such as one for each task.
    """

    value: float | None
    bound: float | None
    holds: bool | None
    parts: dict[str, float | None] = Field(default={})


class Calibration(Part):
    """The scales that normalise the metrics of a sequence, and the properties of the sequence.

    They are computed once, and never from submissions. Calibrations of earlier versions have no properties.
    """

    omitted_if_none = frozenset({"properties"})

    sequence: Name
    version: Count
    made_with: dict[str, Any]
    rewards: dict[str, RewardCalibration]
    properties: dict[str, PropertyRecord] | None = None

    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """The file from which the calibration was read."""
        return self._file

    @property
    def limits(self) -> str | None:
        """What the sequence cannot show, in a sentence; None where no property is known to fail."""
        from ril_bench.metrics.properties import cannot_show  # scipy, which a list of sequences does not need

        records = self.properties or {}
        return cannot_show({name: one.value for name, one in records.items() if one.holds is False})

    def differs_from(self, sequence: Sequence) -> bool:
        """Whether the calibration was measured on other settings than a sequence's.

        Always False for a sequence that names the calibration of another sequence, and for a calibration without
        the digest of its sequence.
        """
        recorded = self.made_with.get("sequence_sha256")
        return sequence.calibration is None and recorded not in (None, sequence.sha256)


def calibration_file(sequence: Sequence, *, official: bool = False) -> Path:
    """The path of a sequence's calibration, beside the file of the sequence.

    The calibration may not exist. For a sequence that ships without a calibration, this may also be a file in
    the current folder, where `ril-bench calibrate` writes it. With `official`, it never is.
    """
    name = f"{sequence.calibration or sequence.name}.calibration.json"
    ships = registry.shipped("tasks")
    beside = (sequence._file.parent if sequence._file else ships) / name
    if official or beside.exists() or beside.parent != ships:
        return beside
    return Path(name) if Path(name).exists() else beside


def load_calibration(sequence: Sequence, *, official: bool = False) -> Calibration | None:
    """The calibration of a sequence, or None if it has none. It may not cover every reward.

    Args:
        official: only look beside the sequence's file, never in the current folder.

    Raises:
        UserError: the file has faults, belongs to another version, or is missing although the sequence names
            it.
    """
    file = calibration_file(sequence, official=official)
    if not file.exists():
        if sequence.calibration is None:
            return None
        raise UserError(
            f"{sequence.name} shares the calibration of {sequence.calibration}, which is missing",
            where=str(file),
            hint=f"ril-bench calibrate {sequence.calibration}",
        )
    calibration = validated(Calibration, read_source(file))
    if calibration.version != sequence.version:
        raise UserError(
            f"the calibration is for version {calibration.version}; {sequence.name} is at {sequence.version}",
            where=str(file),
            hint=f"ril-bench calibrate {sequence.calibration or sequence.name}",
        )
    calibration._file = file
    return calibration
