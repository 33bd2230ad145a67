"""The axes of a grid: methods x tuners x sequences x orders x seeds.

They come from a small YAML file, or from options.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from ril_bench.config.settings import METHOD_PREFIX, UNCHANGED, Settings
from ril_bench.config.validation import Part, validated
from ril_bench.config.yaml_source import Source, read_source
from ril_bench.errors import UserError
from ril_bench.running.plan import GIVEN, RunPlan, orders, plan_run
from ril_bench.sequences.paths import absolute_paths
from ril_bench.sequences.sequence_file import SequenceFile, read_sequence
from ril_bench.sequences.spec import Name, TunerSpec


class MethodEntry(Part):
    """A method with its own options. Its runs are filed under `method@label`."""

    name: str
    label: Name | None = None
    set: dict[str, Any] = Field(default={})


class Variation(Part):
    """The axes in which a part of a grid's file differs; it has the other ones of the file."""

    sequences: list[str] = Field(default=[], min_length=1)
    methods: list[MethodEntry] = Field(default=[], min_length=1)
    tuners: list[str | TunerSpec | None] = Field(default=[None], min_length=1)
    orders: list[str] = Field(default=[GIVEN], min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)
    set: dict[str, Any] = Field(default={})

    @field_validator("methods", mode="before")
    @classmethod
    def _named(cls, methods: Any) -> Any:
        """A method may be written as its name alone."""
        if not isinstance(methods, list):
            return methods
        return [{"name": method} if isinstance(method, str) else method for method in methods]


class GridSpec(Variation):
    """The axes of a grid. Every combination of their values is a run.

    Without `tuners`, each sequence uses its own tuner. A tuner with options is written as in a sequence. The
    order "latin" stands for all cyclic shifts of a sequence's tasks. Each item of `also` adds the combinations
    of the same axes with those that the item names instead; its settings are added to the grid's.
    """

    sequences: list[str] = Field(min_length=1)
    methods: list[MethodEntry] = Field(min_length=1)
    also: list[Variation] = Field(default=[])

    @property
    def parts(self) -> list[GridSpec]:
        """The grid itself and each of its variations, without variations of their own."""
        alone = self.model_copy(update={"also": []})
        return [alone, *(alone._with(variation) for variation in self.also)]

    def _with(self, variation: Variation) -> GridSpec:
        axes = {name: getattr(variation, name) for name in variation.model_fields_set}
        return self.model_copy(update={**axes, "set": {**self.set, **variation.set}})


def axes(file: Path | None, given: Mapping[str, list[Any]], settings: Settings = UNCHANGED) -> GridSpec:
    """A grid from a file, from given axes, or from both.

    A given axis replaces the axis of the file, in its variations too. Paths in the file are relative to the
    file; paths in given axes are relative to the current folder.

    Args:
        given: {"methods": ["naive", "rid"], "seeds": [0, 1]}.
        settings: {"budget.updates": 10}, added to the settings of the file.
    """
    for axis, option in (("sequences", "--sequence"), ("methods", "--method")):
        if not file and not given.get(axis):
            raise UserError(
                f"the grid has no {axis}", where=option, hint=f"add {option} NAME, or name a grid's file"
            )
    source = read_source(_found(file)) if file else Source("the grid's options", {})
    if file:
        source.data, _ = absolute_paths(source.data, file.parent)
    if isinstance(source.data, dict):  # otherwise `validated` reports the fault
        source.data |= given
        variations = source.data.get("also")
        parts = [source.data, *(variations if isinstance(variations, list) else [])]
        for number, part in enumerate(part for part in parts if isinstance(part, dict)):
            if isinstance(part.setdefault("set", {}), dict):
                part["set"] |= settings
            for axis in given if number else ():
                part.pop(axis, None)
    return validated(GridSpec, source)


def plans(grid: GridSpec) -> list[RunPlan]:
    """The plan of every combination, checked as far as possible without a model.

    A run that a grid and its variations share is there once. Reads the file of each sequence once. Raises
    UserError that names each combination that cannot be run, and runs that would share a folder.
    """
    found: list[RunPlan] = []
    faults: dict[str, None] = {}
    read = cache(read_sequence)
    for part in grid.parts:
        earlier = {plan.folder(Path()): plan for plan in found}
        own = _plans_of_part(part, read, faults)
        found += [plan for plan in own if earlier.get(plan.folder(Path())) != plan]
    folders = [plan.folder(Path()) for plan in found]
    if repeated := sorted({str(folder) for folder in folders if folders.count(folder) > 1}):
        faults[
            f"two runs would share {', '.join(repeated)}: give changed methods a label, and each seed once"
        ] = None
    if faults:
        raise UserError("this grid cannot be run:\n" + "\n".join(faults))
    return found


def _plans_of_part(
    grid: GridSpec, read: Callable[[str], SequenceFile], faults: dict[str, None]
) -> Iterator[RunPlan]:
    """The plan of every combination of a grid's own axes; adds what is wrong with the others to `faults`."""
    ordered: list[tuple[SequenceFile, str]] = []
    for reference in grid.sequences:
        try:
            sequence = read(reference)
            ordered += [(sequence, order) for order in orders(sequence.resolve(), grid.orders)]
        except UserError as error:
            faults[str(error)] = None
    for (sequence, order), tuner, method, seed in product(ordered, grid.tuners, grid.methods, grid.seeds):
        tuner_options = tuner.options if isinstance(tuner, TunerSpec) else {}
        try:
            plan = plan_run(
                sequence,
                method.name,
                seed=seed,
                tuner=tuner.name if isinstance(tuner, TunerSpec) else tuner,
                settings={
                    **grid.set,
                    **{f"{METHOD_PREFIX}{key}": value for key, value in method.set.items()},
                    **{f"tuner.{key}": value for key, value in tuner_options.items()},
                },
                label=method.label,
                order=order,
            )
            plan.check()
            yield plan
        except UserError as error:
            faults[str(error)] = None


def _found(file: Path) -> Path:
    if not os.path.isfile(file):
        raise UserError(
            "there is no such grid", where=str(file), hint="name a YAML file, or give its axes as options"
        )
    return file
