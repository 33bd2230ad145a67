"""The first sentences of a leaderboard: what its verified entries show, and what they do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from markupsafe import Markup

from ril_bench import __version__
from ril_bench.metrics.statistics import CLAIM_UNITS
from ril_bench.reporting import text
from ril_bench.reporting.answers import Answer
from ril_bench.reporting.cells import row_of, with_interval
from ril_bench.reporting.place import Place, by_place
from ril_bench.running.plan import GIVEN, REVERSED
from ril_bench.storage.read import StoredRun, dig
from ril_bench.worlds.table import SHAPES

#: cannot be won by learning nothing: it is what all rewards have gained at the end
FIRST = "FINAL"
NAMED = 5  # methods that one sentence lists


def conclusions(table: pd.DataFrame, runs: Sequence[StoredRun]) -> Iterator[Answer]:
    """For each place, one sentence on FINAL: sequence, world, interval, seeds and level."""
    for place, members in by_place(table):
        own = [run for run in runs if Place.of(run) == place]
        found = members[(members["figure"] == FIRST) & ~members["oracle"] & members["known"]]
        words = _words(found.set_index("method"), own)
        order = {GIVEN: "", REVERSED: " in the reversed order"}.get(
            place.order, f" in the order {place.order}"
        )
        where = Markup("On {}{} ({}), tuned with {}, ").format(
            place.sequence, order, _world(own), place.tuner
        )
        yield Answer(place, where + words)


def _words(known: pd.DataFrame, runs: Sequence[StoredRun]) -> Markup:
    if known.empty:
        return Markup(
            "no entry is verified yet: nobody has computed its scores again, so nothing is ranked or claimed."
        )
    ranked = known[known["rank"].notna()].sort_values("rank")
    if ranked.empty:
        return Markup("nothing is claimed: that needs two verified methods with {} seeds each.").format(
            CLAIM_UNITS
        )
    best = str(ranked.index[0])
    levels = text.levels(run.entry.level for run in runs if run.entry and run.name == best)
    row = row_of(ranked, best)
    highest = Markup(
        "<strong>{}</strong> has the highest FINAL of {} methods, {} (95% interval over {} runs; {})"
    ).format(best, len(ranked), with_interval(row), int(row["seeds"]), levels)
    near = [str(name) for name in ranked.index if str(name) != best and ranked.loc[name, "rank_low"] == 1]
    if not near:
        return highest + ". Its runs tell it apart from every other method."
    more = f" and {len(near) - NAMED} more" if len(near) > NAMED else ""
    listed = Markup(", ").join(near[:NAMED]) + more
    return Markup("no method is shown to be the best: {}, but its runs do not tell it apart from {}.").format(
        highest, listed
    )


def _world(runs: Sequence[StoredRun]) -> str:
    """What was studied, in words."""
    model = dig(runs[0].info, "sequence", "model")
    return "a 64 x 64 embedded study" if model in SHAPES.models else f"a study of {model}"


def provenance(runs: Sequence[StoredRun]) -> str:
    """When the runs were computed, and with which version the page was written."""
    days = sorted({str(run.info.get("finished") or "")[:10] for run in runs} - {""})
    when = " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "an unknown day"
    return f"Runs of {when}. Written with RIL-Bench {__version__}."


def comparability(runs: Sequence[StoredRun]) -> list[str]:
    """What a reader must know before comparing: dirty trees, several versions, other machines."""
    found = []
    dirty = sum(bool(dig(run.info, "git", "dirty")) for run in runs)
    if dirty:
        found.append(f"{dirty} of {len(runs)} runs come from a working tree with changes that no commit has.")
    for what, keys in (
        ("versions of RIL-Bench", ("versions", "ril-bench")),
        ("processors", ("hardware", "cpu")),
    ):
        values = sorted({str(dig(run.info, *keys)) for run in runs if dig(run.info, *keys)})
        if len(values) > 1:
            found.append(
                f"The runs come from {len(values)} {what}: {', '.join(values)}. Seconds do not compare."
            )
    return found
