"""Methods that ran at several values of one option: their curves, and FORGET where they learn as much as naive."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ril_bench.metrics.interpolation import at_level
from ril_bench.reporting import text
from ril_bench.reporting.place import Place
from ril_bench.reporting.summary import BASELINE, by_seed, interval, paired
from ril_bench.storage.read import StoredRun, dig
from ril_bench.storage.run_files import number

LEAST_VALUES = 3  # of an option, for a curve


@dataclass(frozen=True)
class Strengths:
    """A method in one place at several values of one option.

    members: {its name in tables: the value}, ascending; tuned: the member without a label, which has the default that
    `tune` chose; None where it did not run.
    """

    place: Place
    method: str
    option: str
    members: dict[str, float]
    tuned: str | None


def strengths(runs: Sequence[StoredRun]) -> list[Strengths]:
    """The methods that ran at three or more values of one option, all else equal."""
    groups: dict[tuple[Any, ...], dict[str, tuple[float, bool]]] = {}
    for run in runs:
        resolved = dig(run.info, "method", "resolved") or {}
        for option, value in resolved.items():
            if (known := number(value)) is None:
                continue
            rest = json.dumps({key: each for key, each in resolved.items() if key != option}, sort_keys=True)
            method = str(dig(run.info, "method", "name"))
            key = (Place.of(run), method, option, rest, run.info.get("sequence_sha256"))
            groups.setdefault(key, {})[run.name] = (known, not dig(run.info, "method", "label"))
    found = []
    for (place, method, option, *_), members in groups.items():
        values = {value: name for name, (value, _) in sorted(members.items(), key=lambda item: item[1])}
        if len(values) >= LEAST_VALUES:
            tuned = next((name for name, (_, default) in members.items() if default), None)
            ordered = {name: value for value, name in sorted(values.items())}
            found.append(Strengths(place, method, option, ordered, tuned))
    return found


@dataclass(frozen=True)
class AtEqualLearning:
    """What a method does at its tuned value, and where its curve of FORGET against LEARN reaches naive's LEARN.

    final: the name in tables of the member that FINAL is of; None where it did not run. forget: mean, interval and
    paired difference to naive's FORGET; None where `reason` says why.
    """

    strengths: Strengths
    final: str | None
    forget: dict[str, Any] | None
    reason: str


def at_equal_learning(frame: pd.DataFrame, curves: Sequence[Strengths]) -> Iterator[AtEqualLearning]:
    """FORGET of each curve at the LEARN of naive, over the same seeds; see `summary.runs_table`."""
    for curve in curves:
        place = curve.place.within(frame)
        seeds = list(by_seed(place[place["method"] == next(iter(curve.members))], "LEARN"))
        forget, reason = _forget_at_naive(place, curve, seeds)
        yield AtEqualLearning(curve, curve.tuned, forget, reason)


def _forget_at_naive(
    place: pd.DataFrame, curve: Strengths, seeds: Sequence[int]
) -> tuple[dict[str, Any] | None, str]:
    def values(method: str, metric: str) -> list[float]:
        found = by_seed(place[place["method"] == method], metric)
        return [found[seed] for seed in seeds]

    if not (place["method"] == BASELINE).any():
        return None, f"{BASELINE} did not run"
    learn, forget = ([values(name, metric) for name in curve.members] for metric in ("LEARN", "FORGET"))
    naive = values(BASELINE, "LEARN")
    if place[["LEARN", "FORGET"]].isna().any(axis=None):
        return None, "LEARN or FORGET is not defined"
    found = at_level(learn, forget, naive)
    if found is None:
        means = [sum(row) / len(row) for row in learn]
        reached = f"its LEARN is {text.short(min(means))} to {text.short(max(means))}"
        return None, f"{reached}, that of {BASELINE} {text.short(sum(naive) / len(naive))}"
    own = dict(zip(seeds, found.tolist(), strict=True))
    base = dict(zip(seeds, values(BASELINE, "FORGET"), strict=True))
    return interval(list(own.values())) | paired(own, base, -1), ""
