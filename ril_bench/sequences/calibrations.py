"""The calibration of a sequence, NAME.calibration.json: the scale of each reward. No torch."""

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
        seeds: the final score of each single-task run.
    """

    direction: Literal[-1, 1]
    unit: str
    b: float
    u: float | None = None
    sigma: Annotated[float, Field(ge=0)]
    se: Annotated[float, Field(ge=0)] | None = None
    seeds: list[float] = Field(default=[])


class Calibration(Part):
    """The scales that normalise the metrics of a sequence.

    They are computed once, and never from submissions.
    """

    sequence: Name
    version: Count
    made_with: dict[str, Any]
    rewards: dict[str, RewardCalibration]

    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """The file from which the calibration was read."""
        return self._file


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
