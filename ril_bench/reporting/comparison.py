"""Two methods on the seeds that they share: means, paired differences, and a verdict in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ril_bench.errors import UserError
from ril_bench.metrics.statistics import CLAIM_UNITS
from ril_bench.reporting import text
from ril_bench.reporting.columns import COLUMNS, GAIN, columns_of_rewards
from ril_bench.reporting.holes import refuse_holes
from ril_bench.reporting.place import by_place
from ril_bench.reporting.summary import by_seed, interval, paired, runs_table
from ril_bench.storage.read import StoredRun

# What `compare` prints unless more is asked for, the metric that matters first.
JUDGED = ("FORGET", "FINAL")  # what a verdict is about unless other metrics are asked for
#: of a difference in a metric, in words: where b is better than a, and where it is worse
WORDS = {
    "FORGET": ("forgets less than", "forgets more than"),
    "FINAL": ("ends higher than", "ends lower than"),
    "LEARN": ("learns more than", "learns less than"),
}
MAIN = ("FORGET", "BWT", "LEARN", "FINAL", "SSIM to step 0", "FID")


def compare(a: Sequence[StoredRun], b: Sequence[StoredRun]) -> pd.DataFrame:
    """A row for each `Place` and metric (column `figure`): both sides, and b - a over shared seeds.

    Each side holds the runs of one method, of one or more sequences, tuners, orders and seeds. The columns are those
    of `summary.table`, with `a_mean`, `a_low`, ... for the first side and `b_mean`, ... for the second. Raises
    UserError where a side holds several methods, or a run has no partner.
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
    for place, members in by_place(first):
        others = place.within(second)
        for column in columns:
            x, y = by_seed(members, column.name), by_seed(others, column.name)
            _refuse_unpaired(place.title, *([f"seed {seed}" for seed in side] for side in (x, y)))
            if not x or np.isnan([*x.values(), *y.values()]).all():
                continue
            rows.append(
                place._asdict()
                | {"figure": column.name, "better": column.better, "scale": members["scale"].iloc[0]}
                | {"seeds": len(x), "a_method": a[0].name, "b_method": b[0].name}
                | {"a_collapsed": int((members["collapsed"] != "").sum())}
                | {"b_collapsed": int((others["collapsed"] != "").sum())}
                | {f"a_{key}": value for key, value in interval(list(x.values())).items()}
                | {f"b_{key}": value for key, value in interval(list(y.values())).items()}
                | paired(y, x, column.better)
            )
    _refuse_unpaired(None, *({place.title for place, _ in by_place(side)} for side in (first, second)))
    return pd.DataFrame(rows)


def main_metrics(rows: pd.DataFrame) -> list[str]:
    """The metrics that `compare` prints by default: those of MAIN, then the gain of each reward."""
    found = list(dict.fromkeys(rows["figure"]))
    return [name for name in MAIN if name in found] + [name for name in found if name.startswith(GAIN)]


def verdicts(rows: pd.DataFrame, metrics: Sequence[str] = JUDGED) -> Iterator[str]:
    """One plain sentence for each place and metric: is b better than a, and can the runs show it?

    A metric that is not defined, such as FORGET of one task, has none.
    """
    a, b = rows["a_method"].iloc[0], rows["b_method"].iloc[0]
    if a == b:
        a, b = f"A ({a})", f"B ({b})"
    places = list(by_place(rows))
    for place, members in places:
        by_metric = members.dropna(subset="difference").set_index("figure")
        where = f"{place.title}: " if len(places) > 1 else ""
        for name in metrics:
            if name in by_metric.index:
                yield where + _verdict(name, by_metric.loc[[name]].iloc[0], a, b)


def _verdict(name: str, row: pd.Series, a: str, b: str) -> str:
    gain, seeds = row["better"] * row["difference"], int(row["seeds"])
    pairs = f"{seeds} pair{'s' if seeds > 1 else ''}"
    what = WORDS.get(name, ("is better than", "is worse than"))
    difference = f"{name} {text.signed(row['difference'])}"
    if seeds < CLAIM_UNITS:
        return f"{b} against {a}: {difference}; {pairs} cannot show a difference, {CLAIM_UNITS} are needed."
    low, high = row["difference_low"], row["difference_high"]
    difference += f" [{text.short(low)}, {text.short(high)}]"
    if low <= 0 <= high:
        return f"{b} against {a}: {difference}; not distinguishable at {pairs}."
    verb = what[0] if gain > 0 else what[1]
    return f"{b} {verb} {a}: {difference}; distinguishable at {pairs} (p {text.p_value(row['p'])})."


def _refuse_unpaired(place: str | None, a: Collection[object], b: Collection[object]) -> None:
    sides = (("A", a, b), ("B", b, a))
    alone = [f"{one}, only in {side}" for side, here, there in sides for one in here if one not in there]
    if alone:
        raise UserError(
            "some runs have no partner: " + "; ".join(alone),
            where=place,
            hint="choose what both have: --sequence, --order, --tuner or --seed 0-4",
        )
