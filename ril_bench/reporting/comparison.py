"""Two methods on the units that they share: means, paired differences, and a verdict in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ril_bench.errors import UserError
from ril_bench.metrics.statistics import CLAIM_UNITS
from ril_bench.reporting import text
from ril_bench.reporting.columns import COLUMNS, GAIN, columns_of_rewards
from ril_bench.reporting.holes import refuse_holes
from ril_bench.reporting.summary import GROUP, by_unit, interval, paired, runs_table
from ril_bench.storage.read import StoredRun

# What `compare` prints unless more is asked for, the metric that matters first.
MAIN = ("FORGET", "BWT", "LEARN", "FINAL", "SSIM to step 0", "FID")


def compare(a: Sequence[StoredRun], b: Sequence[StoredRun]) -> pd.DataFrame:
    """A row for each sequence, tuner and metric (column `figure`): both sides, and b - a over shared units.

    Each side holds the runs of one method, of one or more sequences, tuners, orders and seeds. The columns are those
    of `summary.table`, with `a_mean`, `a_low`, ... for the first side and `b_mean`, ... for the second. Raises
    UserError where a side holds several methods, or a unit has no partner.
    """
    for side in (a, b):
        refuse_holes(side)
        names = sorted({run.name for run in side})
        if len(names) > 1:
            raise UserError(
                f"one side holds several methods: {', '.join(names)}", hint="name one method's folder"
            )
    frame = runs_table([*a, *b])
    first, second = frame.iloc[: len(a)], frame.iloc[len(a) :]
    columns = (*COLUMNS, *columns_of_rewards(frame.columns))
    rows: list[dict[str, Any]] = []
    for group, members in first.groupby(GROUP, sort=False):
        others = second[(second[GROUP] == list(group)).all(axis=1)]
        for column in columns:
            x, y = by_unit(members, column.name), by_unit(others, column.name)
            _refuse_unpaired(group, x, y)
            if not x or np.isnan([*x.values(), *y.values()]).all():
                continue
            rows.append(
                dict(zip(GROUP, group, strict=True))
                | {"figure": column.name, "better": column.better, "scale": members["scale"].iloc[0]}
                | {"units": len(x), "a_method": a[0].name, "b_method": b[0].name}
                | {"a_collapsed": int((members["collapsed"] != "").sum())}
                | {"b_collapsed": int((others["collapsed"] != "").sum())}
                | {f"a_{key}": value for key, value in interval(list(x.values())).items()}
                | {f"b_{key}": value for key, value in interval(list(y.values())).items()}
                | paired(y, x, column.better)
            )
    _refuse_unpaired(("", ""), *({tuple(row): 0.0 for row in side[GROUP].values} for side in (first, second)))
    return pd.DataFrame(rows)


def main_metrics(rows: pd.DataFrame) -> list[str]:
    """The metrics that `compare` prints by default: those of MAIN, then the gain of each reward."""
    found = list(dict.fromkeys(rows["figure"]))
    return [name for name in MAIN if name in found] + [name for name in found if name.startswith(GAIN)]


def verdicts(rows: pd.DataFrame) -> Iterator[str]:
    """One plain sentence for each sequence and tuner: does b forget less than a, and can the runs show it?

    Where FORGET is not defined (one task), FINAL takes its place.
    """
    a, b = rows["a_method"].iloc[0], rows["b_method"].iloc[0]
    if a == b:
        a, b = f"A ({a})", f"B ({b})"
    groups = list(rows.groupby(GROUP, sort=False))
    for (sequence, tuner), members in groups:
        by_metric = members.dropna(subset="difference").set_index("figure")
        name = next((name for name in ("FORGET", "FINAL") if name in by_metric.index), None)
        place = f"{sequence} / {tuner}: " if len(groups) > 1 else ""
        yield place + (
            _verdict(name, by_metric.loc[[name]].iloc[0], a, b)
            if name
            else "no metric of forgetting to compare."
        )


def _verdict(name: str, row: pd.Series, a: str, b: str) -> str:
    gain, units = row["better"] * row["difference"], int(row["units"])
    pairs = f"{units} pair{'s' if units > 1 else ''}"
    what = {
        "FORGET": ("forgets less than", "forgets more than"),
        "FINAL": ("ends higher than", "ends lower than"),
    }[name]
    difference = f"{name} {text.signed(row['difference'])}"
    if units < CLAIM_UNITS:
        return f"{b} against {a}: {difference}; {pairs} cannot show a difference, {CLAIM_UNITS} are needed."
    low, high = row["difference_low"], row["difference_high"]
    difference += f" [{text.short(low)}, {text.short(high)}]"
    if low <= 0 <= high:
        return f"{b} against {a}: {difference}; not distinguishable at {pairs}."
    verb = what[0] if gain > 0 else what[1]
    return f"{b} {verb} {a}: {difference}; distinguishable at {pairs} (p {text.p_value(row['p'])})."


def _refuse_unpaired(place: Iterable[object], a: Mapping[Any, Any], b: Mapping[Any, Any]) -> None:
    sides = (("A", a, b), ("B", b, a))
    alone = [
        f"{' / '.join(map(str, unit))}, only in {side}"
        for side, here, there in sides
        for unit in here
        if unit not in there
    ]
    if alone:
        raise UserError(
            "some units have no partner: " + "; ".join(alone),
            where=" / ".join(map(str, filter(None, place))) or None,
            hint="give both sides the same sequences, tuners, orders and seeds",
        )
