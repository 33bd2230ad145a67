"""The sentences at the top of a site: which method forgets least, and at what price."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from ril_bench.metrics.statistics import CLAIMED_P
from ril_bench.reporting import text
from ril_bench.reporting.cells import row_of, value_at, with_interval
from ril_bench.reporting.place import Place, by_place
from ril_bench.reporting.summary import BASELINE


@dataclass(frozen=True)
class Answer:
    """The answer for one place, in words."""

    place: Place
    words: Markup


def answers(table: pd.DataFrame) -> Iterator[Answer]:
    """Which method forgets least, for each place. An oracle is never the answer."""
    for place, members in by_place(table):
        allowed = members[~members["oracle"]]
        methods = {str(name): own.set_index("figure") for name, own in allowed.groupby("method", sort=False)}
        yield Answer(place, _answer(methods))


def _answer(methods: dict[str, pd.DataFrame]) -> Markup:
    known = {
        name: metrics
        for name, metrics in methods.items()
        if math.isfinite(value_at(metrics, "FORGET", "mean"))
    }
    if not known:
        return Markup("FORGET is not defined: it needs two tasks, and every seed of a method.")
    least = min(known, key=lambda name: value_at(known[name], "FORGET", "mean"))
    row = row_of(known[least], "FORGET")
    if row["points"]:
        n = len(row["points"])
        words = Markup("{} seed{} a method: every point is shown, and below five nothing is claimed.")
        return words.format(n, "s" if n > 1 else "")
    others = [name for name in known if name != least]
    if not others:
        return Markup("<strong>{}</strong> is the only method: FORGET {}.").format(least, with_interval(row))
    lowest = Markup("<strong>{}</strong> has the lowest FORGET, {}").format(least, with_interval(row))
    if BASELINE not in known:
        return lowest + "; there are no naive runs to compare it with."
    naive, words = known[BASELINE], Markup("{}: {} paired{}.")
    if least == BASELINE:
        least = min(others, key=lambda name: value_at(known[name], "FORGET", "difference"))
        row = row_of(known[least], "FORGET")
        verdict = Markup("; nearest is <strong>{}</strong>").format(least)
    elif row["difference_high"] < 0 and row["p_holm"] < CLAIMED_P:
        verdict = Markup(", and forgets less than naive")
    else:
        verdict = Markup(", but is not distinguishable from naive")
    return lowest + words.format(verdict, with_interval(row, "difference"), _price(known[least], naive))


def _price(metrics: pd.DataFrame, naive: pd.DataFrame) -> str:
    """What a method costs beside naive: denoiser evaluations, memory, learning."""
    prices = []
    ratio = value_at(metrics, "denoiser evaluations", "mean") / value_at(
        naive, "denoiser evaluations", "mean"
    )
    if math.isfinite(ratio):
        prices.append(f"{text.ratio(ratio)} the denoiser evaluations")
    if math.isfinite(carried := value_at(metrics, "carried MB", "difference")):
        prices.append(f"{text.signed(carried)} MB carried")
    if math.isfinite(learned := value_at(metrics, "LEARN", "difference")):
        prices.append(f"LEARN {text.signed(learned)}")
    return f", at {', '.join(prices)}" if prices else ""
