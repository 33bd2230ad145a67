"""Many runs as one table, which every format and the site are made from.

A unit is an (order, seed) pair; methods are compared within a sequence and a tuner, on the same units. A table
with holes would average different things and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ril_bench.errors import UserError
from ril_bench.metrics import statistics
from ril_bench.reporting.find import find_runs
from ril_bench.reporting.holes import refuse_holes
from ril_bench.storage.read import Run, common_scale, dig, number, read_run

BASELINE = "naive"
HOLM_UNITS = 10  # below, a p value adjusted over methods would only look like evidence
GROUP, UNIT = ["sequence", "tuner"], ["order", "seed"]
_UNRANKED = dict.fromkeys(("rank", "rank_low", "rank_high"), math.nan)
_ALONE = dict.fromkeys(
    ("difference", "difference_low", "difference_high", "improvement", "p", "p_holm"), math.nan
)

Unit = tuple[str, int]
Origin = Literal["scores", "images", "run"]


@dataclass(frozen=True)
class Figure:
    """A figure of the table: `read` and `floor` take it from a run and the scale that its rewards are on.

    `better` is +1 where higher is better, -1 where lower is. `main` figures have a column on the site. `origin` is
    what one needs to compute it anew: the scores, the images, or the run itself (its time and its counters).
    """

    name: str
    better: int
    read: Callable[[Run, str | None], Any]
    floor: Callable[[Run, str | None], Any] | None = None
    main: bool = True
    origin: Origin = "scores"


def _continual(name: str, run: Run, scale: str | None) -> Any:
    return run.continual(scale, name)


def _anytime(name: str, run: Run, scale: str | None) -> Any:
    return dig(run.metrics, "anytime", scale, name)


def _last(group: str, key: str, run: Run, scale: str | None) -> Any:
    points = run.per_step(group, key)
    return points[-1][1] if points else None


def _at(*keys: str) -> Callable[[Run, str | None], Any]:
    return lambda run, scale: dig(run.metrics, *keys)


def _megabytes(run: Run, scale: str | None) -> Any:
    carried = number(dig(run.metrics, "resources", "carried_bytes"))
    return None if carried is None else carried / 1e6


def _cost(*keys: str) -> Callable[[Run, str | None], Any]:
    """A sum over the steps after step 0: the pretrained model is evaluated once for all runs, not by each."""

    def read(run: Run, scale: str | None) -> Any:
        steps = [row for row in run.info.get("steps") or [] if row.get("step")]
        parts = [number(row.get(key)) for row in steps for key in keys]
        return None if None in parts or not parts else sum(filter(None, parts))

    return read


def _structure(name: str, key: str, better: int, main: bool = False) -> Figure:
    floor = _at("structure", "floor", key)
    return Figure(
        f"{name} to step 0", better, partial(_last, "structure", f"{key}_to_0"), floor, main, "images"
    )


FIGURES = (
    Figure("FORGET", -1, partial(_continual, "FORGET"), partial(_continual, "FORGET_floor")),
    Figure("BWT", +1, partial(_continual, "BWT")),
    Figure("LEARN", +1, partial(_continual, "LEARN")),
    Figure("FINAL", +1, partial(_continual, "FINAL")),
    Figure("WORST", +1, partial(_continual, "WORST")),
    Figure("AVG-INC", +1, partial(_continual, "AVG-INC"), main=False),
    Figure("FWT", +1, partial(_continual, "FWT"), main=False),
    *(Figure(name, +1, partial(_anytime, name), main=False) for name in ("AAA", "MINPERF", "WC-ACC")),
    _structure("SSIM", "ssim", +1, main=True),
    _structure("MS-SSIM", "ms_ssim", +1),
    _structure("LPIPS", "lpips", -1),
    _structure("edges", "edges", +1),
    _structure("cosine", "cosine", +1),
    Figure("KID", -1, partial(_last, "fidelity", "kid"), _at("fidelity", "kid_floor"), origin="images"),
    Figure("FID", -1, partial(_last, "fidelity", "fid"), _at("fidelity", "floor"), origin="images"),
    Figure("Vendi", +1, partial(_last, "diversity", "vendi"), origin="images"),
    Figure("carried MB", -1, _megabytes, origin="run"),
    Figure("denoiser evaluations", -1, _cost("denoiser_forwards"), origin="run"),
    Figure("seconds", -1, _cost("train_seconds", "evaluation_seconds"), origin="run"),
)


def load(places: Iterable[str | Path]) -> list[Run]:
    """The runs at or below each place; UserError where there is none, or one cannot be read."""
    return [read_run(folder) for folder in find_runs(places)]


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run: what it is, then its figures ("FINAL") and their floors ("FORGET floor").

    Rewards stand normalised where the sequence is calibrated, else in z. Raises UserError where a sequence's
    runs stand on both: their figures would not compare.
    """
    frame = pd.DataFrame([_row(run) for run in runs])
    for sequence, scales in frame[frame["status"] == "complete"].groupby("sequence")["scale"]:
        if scales.nunique(dropna=False) > 1:
            raise UserError(
                f"some runs of {sequence} are normalised and some are not",
                hint="score them all on one calibration: ril-bench score RUN",
            )
    return frame


def table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each sequence, tuner, method and figure, over units (order, seed); oracles last.

    Columns: `mean`, `low`, `high` (95% interval; NaN below five units, where `points` is what there is to see),
    `iqm`, `floor` (mean over units), `biased` (FID of too few images), from five units on `rank` among the honest
    methods with its interval (`rank_low`, `rank_high`), and against the method `naive`: `difference` with its interval
    or `difference_points`, `improvement` (the probability of one), `p` (paired t test) and, from ten units on, `p_holm`
    (over methods).

    Raises UserError naming every missing cell, with the command to make it.
    """
    refuse_holes(runs)
    frame = runs_table(runs)
    gains = [Figure(name, +1, _at()) for name in frame.columns if name.startswith("gain ")]
    rows: list[dict[str, Any]] = []
    for group, members in frame.groupby(GROUP, sort=False):
        methods = {str(name): part for name, part in members.groupby("method", sort=False)}
        oracles = {name for name, part in methods.items() if part["oracle"].any()}
        ordered = sorted(methods, key=oracles.__contains__)
        for figure in (*FIGURES, *gains):
            if members[figure.name].isna().all():
                continue
            values = {name: _by_unit(methods[name], figure.name) for name in ordered}
            against = _against(values, figure.better)
            placed = _ranks({name: values[name] for name in ordered if name not in oracles}, figure.better)
            rows += [
                dict(zip(GROUP, group, strict=True))
                | {"method": name, "oracle": name in oracles, "figure": figure.name}
                | {"scale": members["scale"].iloc[0], "units": len(values[name])}
                | _interval(list(values[name].values()))
                | {"floor": _floor(methods[name], figure)}
                | {"biased": figure.name == "FID" and bool(methods[name]["biased"].any())}
                | placed.get(name, _UNRANKED)
                | against.get(name, {**_ALONE, "difference_points": ()})
                for name in ordered
            ]
    return pd.DataFrame(rows)


def compare(a: Sequence[Run], b: Sequence[Run]) -> pd.DataFrame:
    """Two methods, figure by figure: both means, and b - a over the units that they share.

    Each side is one method's runs of one or more sequences, tuners, orders and seeds; the columns are
    `table`'s, with `a`, `a_low`, ... for the first. Raises UserError where a side holds several methods, or a
    unit has no partner.
    """
    sides = []
    for side in (a, b):
        refuse_holes(side)
        names = sorted({run.name for run in side})
        if len(names) > 1:
            raise UserError(
                f"one side holds several methods: {', '.join(names)}", hint="name one method's folder"
            )
        sides.append(side)
    frame = runs_table([*a, *b])
    first, second = frame.iloc[: len(a)], frame.iloc[len(a) :]
    rows = []
    for group, members in first.groupby(GROUP, sort=False):
        others = second[(second[GROUP] == list(group)).all(axis=1)]
        for figure in FIGURES:
            x, y = _by_unit(members, figure.name), _by_unit(others, figure.name)
            _refuse_unpaired(group, x, y)
            if not x or np.isnan([*x.values(), *y.values()]).all():
                continue
            rows.append(
                dict(zip(GROUP, group, strict=True))
                | {"figure": figure.name, "better": figure.better, "scale": members["scale"].iloc[0]}
                | {"units": len(x)}
                | {f"a_{key}": value for key, value in _interval(list(x.values())).items()}
                | {f"b_{key}": value for key, value in _interval(list(y.values())).items()}
                | _paired(y, x, figure.better)
            )
    _refuse_unpaired(("", ""), *({tuple(row): 0.0 for row in side[GROUP].values} for side in (first, second)))
    return pd.DataFrame(rows)


def _row(run: Run) -> dict[str, Any]:
    scale = common_scale([run])
    row: dict[str, Any] = {
        "sequence": run.sequence,
        "tuner": run.tuner,
        "method": run.name,
        "order": run.order,
        "seed": run.seed,
        "status": str(run.info.get("status") or "unknown"),
        "oracle": bool(dig(run.info, "method", "oracle")),
        "official": bool(run.info.get("official")),
        "scale": scale,
        "biased": bool(dig(run.metrics, "fidelity", "biased")),
        "folder": str(run.folder),
    }
    for figure in FIGURES:
        row[figure.name] = _float(figure.read(run, scale))
        if figure.floor:
            row[f"{figure.name} floor"] = _float(figure.floor(run, scale))
    effect = run.continual(scale, "effect") or []
    gains = {f"gain {name}": _float(effect[j][j]) for j, name in enumerate(run.rewards) if j < len(effect)}
    return row | gains


def _float(value: Any) -> float:
    return math.nan if (value := number(value)) is None else value


def _by_unit(members: pd.DataFrame, figure: str) -> dict[Unit, float]:
    return dict(zip(members[UNIT].itertuples(index=False, name=None), members[figure], strict=True))


def _interval(values: Sequence[float]) -> dict[str, Any]:
    interval = statistics.mean_interval(values)
    claims = interval.claims
    return {
        "mean": interval.mean,
        "low": interval.low if claims else math.nan,
        "high": interval.high if claims else math.nan,
        "iqm": statistics.iqm(values),
        "points": () if claims else tuple(values),
    }


def _floor(members: pd.DataFrame, figure: Figure) -> float:
    return float(members[f"{figure.name} floor"].mean(skipna=False)) if figure.floor else math.nan


def _paired(new: Mapping[Unit, float], old: Mapping[Unit, float], better: int) -> dict[str, Any]:
    """How `new` differs from `old` on the same units; below five of them nothing is claimed."""
    interval = statistics.paired_difference(new, old)
    claims = interval.claims
    return {
        "difference": interval.mean,
        "difference_low": interval.low if claims else math.nan,
        "difference_high": interval.high if claims else math.nan,
        "difference_points": () if claims else tuple(statistics.differences(new, old)),
        "improvement": statistics.probability_of_improvement(
            [better * value for value in new.values()], [better * value for value in old.values()]
        ),
        "p": statistics.paired_p(new, old) if claims else math.nan,
    }


def _against(values: Mapping[str, Mapping[Unit, float]], better: int) -> dict[str, dict[str, Any]]:
    """Each method against the baseline, where there is one."""
    if BASELINE not in values:
        return {}
    paired = {
        name: _paired(own, values[BASELINE], better) for name, own in values.items() if name != BASELINE
    }
    enough = len(values[BASELINE]) >= HOLM_UNITS
    adjusted = statistics.holm({name: found["p"] for name, found in paired.items()}) if enough else {}
    return {name: found | {"p_holm": adjusted.get(name, math.nan)} for name, found in paired.items()}


def _ranks(values: Mapping[str, Mapping[Unit, float]], better: int) -> dict[str, dict[str, float]]:
    """Each method's rank where there are two or more, each with units enough, and no figure is missing."""
    units = {len(own) for own in values.values()}
    known = all(math.isfinite(value) for own in values.values() for value in own.values())
    if len(values) < 2 or min(units) < statistics.CLAIM_UNITS or not known:
        return {}
    placed = statistics.ranks(values, better)
    return {
        name: {"rank": one.rank, "rank_low": one.low, "rank_high": one.high} for name, one in placed.items()
    }


def _refuse_unpaired(place: Iterable[object], a: Mapping[Any, Any], b: Mapping[Any, Any]) -> None:
    alone = [f"{' / '.join(map(str, unit))}, only in {side}" for side, here, there in
             (("A", a, b), ("B", b, a)) for unit in here if unit not in there]  # fmt: skip
    if alone:
        raise UserError(
            "some units have no partner: " + "; ".join(alone),
            where=" / ".join(map(str, filter(None, place))) or None,
            hint="give both sides the same sequences, tuners, orders and seeds",
        )
