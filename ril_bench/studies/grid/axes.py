"""What a grid is: methods x tuners x sequences x orders x seeds, from a small YAML file or from options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from ril_bench.config.validation import Part, validated
from ril_bench.config.yaml_source import Source, parse_source, read_source
from ril_bench.errors import UserError
from ril_bench.running.plan import GIVEN, METHOD_PREFIX, RunPlan, orders, plan_run
from ril_bench.sequences.spec import Name, TunerSpec

Settings = dict[str, Any]  # {"budget.updates": 10}


class MethodEntry(Part):
    """A method with options of its own, filed under `method@label`."""

    name: str
    label: Name | None = None
    set: Settings = Field(default={})


class GridSpec(Part):
    """Every combination of what the axes hold is a run. No tuner means each sequence's own; one with options is
    written as a sequence writes it. The order "latin" stands for all cyclic shifts of a sequence's tasks.
    """

    sequences: list[str] = Field(min_length=1)
    methods: list[MethodEntry] = Field(min_length=1)
    tuners: list[str | TunerSpec | None] = Field(default=[None], min_length=1)
    orders: list[str] = Field(default=[GIVEN], min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)
    set: Settings = Field(default={})

    @field_validator("methods", mode="before")
    @classmethod
    def _named(cls, methods: Any) -> Any:
        """A method may be written as its name alone."""
        if not isinstance(methods, list):
            return methods
        return [{"name": method} if isinstance(method, str) else method for method in methods]


def axes(file: Path | None, given: Mapping[str, list[Any]], settings: Sequence[str] = ()) -> GridSpec:
    """A grid from a file, from axes given one by one, or from both: what is given replaces the file's axis.

    Args:
        given: {"methods": ["naive", "rid"], "seeds": [0, 1]}.
        settings: "budget.updates=10", on top of the file's.
    """
    source = read_source(_found(file)) if file else Source("the grid's options", {})
    if isinstance(source.data, dict):  # else the file is at fault, and `validated` says so
        source.data |= given
        for setting in settings:
            key, _, value = setting.partition("=")
            changed = {key: parse_source(value, f"--set {setting}").data}
            source.data["set"] = {**source.data.get("set", {}), **changed}
    return validated(GridSpec, source)


def plans(grid: GridSpec) -> list[RunPlan]:
    """The run of every combination.

    Raises UserError naming each combination that cannot be run, or two that would share a folder.
    """
    made: list[RunPlan] = []
    faults: dict[str, None] = {}
    ordered: list[tuple[str, str]] = []
    for sequence in grid.sequences:
        try:
            ordered += [(sequence, order) for order in orders(sequence, grid.orders)]
        except UserError as error:
            faults[str(error)] = None
    for (sequence, order), tuner, method, seed in product(ordered, grid.tuners, grid.methods, grid.seeds):
        own = {f"{METHOD_PREFIX}{key}": value for key, value in method.set.items()}
        settings = [f"{key}={_written(value)}" for key, value in {**grid.set, **own}.items()]
        if isinstance(tuner, TunerSpec):
            settings += [f"tuner.{key}={_written(value)}" for key, value in tuner.options.items()]
        try:
            made.append(
                plan_run(
                    sequence,
                    method.name,
                    seed=seed,
                    tuner=tuner.name if isinstance(tuner, TunerSpec) else tuner,
                    settings=settings,
                    label=method.label,
                    order=order,
                )
            )
        except UserError as error:
            faults[str(error)] = None
    folders = [plan.folder(Path()) for plan in made]
    if twice := sorted({str(folder) for folder in folders if folders.count(folder) > 1}):
        faults[
            f"two runs would share {', '.join(twice)}: give changed methods a label, and each seed once"
        ] = None
    if faults:
        raise UserError("this grid cannot be run:\n" + "\n".join(faults))
    return made


def _found(file: Path) -> Path:
    if not file.is_file():
        raise UserError("no such grid", where=str(file), hint="name a YAML file, or give its axes as options")
    return file


def _written(value: Any) -> str:
    """A value as it stands behind "=" in a setting."""
    return value if isinstance(value, str) else json.dumps(value)
