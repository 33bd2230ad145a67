"""Many runs as one table. Every output format and the site are made from this table.

Methods are compared within a place, on the same seeds. A table with holes would average over different seeds, so it is
refused.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ril_bench.errors import UserError
from ril_bench.metrics import statistics
from ril_bench.reporting.collapse import collapsed_steps
from ril_bench.reporting.columns import Column, columns_of, columns_of_rewards, of_each_reward
from ril_bench.reporting.find import find_runs
from ril_bench.reporting.holes import refuse_holes
from ril_bench.reporting.place import Place, by_place
from ril_bench.reporting.same_settings import other_sequences
from ril_bench.storage.read import StoredRun, common_scale, dig, read_whole_run
from ril_bench.storage.run_files import number

BASELINE = "naive"
_NO_RANK = dict.fromkeys(("rank", "rank_low", "rank_high"), math.nan)
_NO_DIFFERENCE = dict.fromkeys(
    ("difference", "difference_low", "difference_high", "improvement", "p", "p_holm"), math.nan
)


def load(places: Iterable[str | Path]) -> list[StoredRun]:
    """Reads the runs at or below each place; UserError where there is none, or one cannot be read."""
    return [read_whole_run(folder) for folder in find_runs(places)]


def runs_table(runs: Sequence[StoredRun], *, z: bool = False) -> pd.DataFrame:
    """A row for each run: its names, its metrics ("FINAL"), and their floors ("FORGET floor").

    Rewards are normalised where the sequence is calibrated, else in z; with `z`, they are in z too ("FINAL (z)").
    Raises UserError where the runs of one sequence use both scales: their values do not compare.
    """
    frame = pd.DataFrame([_run_row(run, columns_of(z)) for run in runs])
    for sequence, scales in frame[frame["status"] == "complete"].groupby("sequence")["scale"]:
        if scales.nunique(dropna=False) > 1:
            raise UserError(
                f"some runs of {sequence} are normalised and some are not",
                hint="score them all on one calibration: ril-bench score RUN",
            )
    return frame


def table(runs: Sequence[StoredRun], *, z: bool = False) -> pd.DataFrame:
    """A row for each `Place`, method and metric (column `figure`), over seeds; oracles last.

    With `z`, the metrics of rewards are there in z too, as "FINAL (z)".

    Columns: `mean`, `low`, `high` (95% interval; NaN below five seeds, where `points` holds every value), `iqm`,
    `seeds` (their number), `floor` (mean over seeds), `biased` (FID of too few images), `collapsed` (seeds with a
    collapsed step), `known` (false for what an entry of a leaderboard only states). From five seeds on: `rank` among
    the methods that are known and no oracles, with its interval (`rank_low`, `rank_high`). Against the method `naive`:
    `difference` with its interval or `difference_points`, `improvement` (the share of seeds that are better than
    naive's, ties half) and, from five seeds on, `p` (paired t test) and `p_holm` (adjusted over the known methods;
    NaN where the method or naive is not known).

    Raises UserError that names every missing run, with the command that computes it, and where the runs of one method
    have other settings. `other_settings` says where those of several methods have.
    """
    refuse_holes(runs)
    frame = runs_table(runs, z=z)
    rewards = columns_of_rewards(frame.columns)
    rows: list[dict[str, Any]] = []
    for place, members in by_place(frame):
        own_runs = [run for run in runs if Place.of(run) == place]
        methods = {str(name): own for name, own in members.groupby("method", sort=False)}
        oracles = {name for name, own in methods.items() if own["oracle"].any()}
        ordered = sorted(methods, key=oracles.__contains__)
        for column in (*columns_of(z), *rewards):
            if members[column.name].isna().all():
                continue
            values = {name: by_seed(methods[name], column.name) for name in ordered}
            known = _known(own_runs, column)
            differences = _differences_to_naive(values, known, column.better)
            ranked = {name: values[name] for name in ordered if name not in oracles and name in known}
            ranks = _ranks(ranked, column.better)
            rows += [
                place._asdict()
                | {"method": name, "oracle": name in oracles, "figure": column.name}
                | {"scale": members["scale"].iloc[0], "seeds": len(values[name]), "known": name in known}
                | interval(list(values[name].values()))
                | {"floor": _floor(methods[name], column)}
                | {"biased": column.name == "FID" and bool(methods[name]["biased"].any())}
                | {"collapsed": int((methods[name]["collapsed"] != "").sum())}
                | ranks.get(name, _NO_RANK)
                | differences.get(name, {**_NO_DIFFERENCE, "difference_points": ()})
                for name in ordered
            ]
    return pd.DataFrame(rows)


def other_settings(runs: Sequence[StoredRun]) -> list[str]:
    """A sentence for each method that ran other settings of a sequence than naive; without naive, than the first."""
    return other_sequences([*(run for run in runs if run.name == BASELINE), *runs], runs)


def _known(runs: Sequence[StoredRun], column: Column) -> set[str]:
    """The methods whose values of a metric are known in every run."""
    return {run.name for run in runs} - {run.name for run in runs if not column.known_of(run)}


def _run_row(run: StoredRun, columns: Sequence[Column]) -> dict[str, Any]:
    scale = common_scale([run])
    row: dict[str, Any] = {
        "sequence": run.sequence,
        "tuner": run.tuner,
        "method": run.name,
        "order": run.order,
        "seed": run.seed,
        "level": run.entry.level if run.entry else "",
        "status": run.status,
        "oracle": bool(dig(run.info, "method", "oracle")),
        "official": bool(run.info.get("official")),
        "scale": scale,
        "biased": bool(dig(run.metrics, "fidelity", "biased")),
        "collapsed": collapsed_steps(run),
        "folder": str(run.folder),
    }
    for column in columns:
        row[column.name] = _float(column.read(run, scale))
        if column.floor:
            row[f"{column.name} floor"] = _float(column.floor(run, scale))
    return row | {name: _float(value) for name, value in of_each_reward(run, scale).items()}


def _float(value: Any) -> float:
    return math.nan if (value := number(value)) is None else value


def by_seed(members: pd.DataFrame, column: str) -> dict[int, float]:
    """The values of a column in one place, for one method."""
    return dict(zip(members["seed"], members[column], strict=True))


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean, 95% interval and interquartile mean; every value as a point where seeds are too few for an interval."""
    found = statistics.mean_interval(values)
    return {
        "mean": found.mean,
        "low": found.low if found.claims else math.nan,
        "high": found.high if found.claims else math.nan,
        "iqm": statistics.iqm(values),
        "points": () if found.claims else tuple(values),
    }


def paired(new: Mapping[int, float], old: Mapping[int, float], better: int) -> dict[str, Any]:
    """The difference new - old on the same seeds; below five there is no interval and no p value."""
    found = statistics.paired_difference(new, old)
    return {
        "difference": found.mean,
        "difference_low": found.low if found.claims else math.nan,
        "difference_high": found.high if found.claims else math.nan,
        "difference_points": () if found.claims else tuple(statistics.differences(new, old)),
        "improvement": statistics.share_improved(new, old, better),
        "p": statistics.paired_p(new, old) if found.claims else math.nan,
    }


def _floor(members: pd.DataFrame, column: Column) -> float:
    return float(members[f"{column.name} floor"].mean(skipna=False)) if column.floor else math.nan


def _differences_to_naive(
    values: Mapping[str, Mapping[int, float]], known: Collection[str], better: int
) -> dict[str, dict[str, Any]]:
    """Each method against naive; empty where naive has no run.

    Only known values are judged, and counted by Holm's correction: nobody's verdict depends on what others only state.
    """
    if BASELINE not in values:
        return {}
    naive = values[BASELINE]
    found = {name: paired(own, naive, better) for name, own in values.items() if name != BASELINE}
    judged = [name for name in found if {name, BASELINE} <= set(known)]
    adjusted = statistics.holm({name: found[name]["p"] for name in judged})
    return {name: row | {"p_holm": adjusted.get(name, math.nan)} for name, row in found.items()}


def _ranks(values: Mapping[str, Mapping[int, float]], better: int) -> dict[str, dict[str, float]]:
    """The rank of each method, if there are two or more, each has enough seeds, and no value is missing."""
    seeds = {len(own) for own in values.values()}
    known = all(math.isfinite(value) for own in values.values() for value in own.values())
    if len(values) < 2 or min(seeds) < statistics.CLAIM_UNITS or not known:
        return {}
    return {
        name: {"rank": rank.rank, "rank_low": rank.low, "rank_high": rank.high}
        for name, rank in statistics.ranks(values, better).items()
    }
