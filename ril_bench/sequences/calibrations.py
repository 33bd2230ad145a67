"""The calibration of a sequence, NAME.calibration.json: what each reward's unit is worth there. No torch."""

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
    """A reward's scale on a sequence, in its own unit, unsigned: what row 0 and a single-task tuning reach.

    b: mean at step 0; sigma: its SD over prompts; u: mean of `seeds`, each a single-task run's; se: u's
    standard error. Probes are never tuned: they have no u.
    """

    direction: Literal[-1, 1]
    unit: str
    b: float
    u: float | None = None
    sigma: Annotated[float, Field(ge=0)]
    se: Annotated[float, Field(ge=0)] | None = None
    seeds: list[float] = Field(default=[])


class Calibration(Part):
    """What the figures of a sequence are normalised by; computed once, never from submissions."""

    sequence: Name
    version: Count
    made_with: dict[str, Any]
    rewards: dict[str, RewardCalibration]

    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """The file that it was read from."""
        return self._file


def calibration_file(sequence: Sequence, *, official: bool = False) -> Path:
    """Where the calibration of a sequence is, or would be: beside its file.

    A sequence that ships without a calibration is looked for in the current folder too, where `ril-bench calibrate`
    writes it, unless the `official` one is asked for.
    """
    name = f"{sequence.calibration or sequence.name}.calibration.json"
    ships = registry.shipped("tasks")
    beside = (sequence._file.parent if sequence._file else ships) / name
    if official or beside.exists() or beside.parent != ships:
        return beside
    return Path(name) if Path(name).exists() else beside


def load_calibration(sequence: Sequence, *, official: bool = False) -> Calibration | None:
    """The calibration of a sequence, or None if it has none; it may not cover every reward.

    Args:
        official: only the one beside the sequence's file, never one in the current folder.

    Raises:
        UserError: the file is faulty, belongs to another version, or is named by the sequence and missing.
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
