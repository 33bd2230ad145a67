"""The rows of scores.parquet and anytime.parquet: those of the sequence's evaluations, once each, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pandas as pd

from ril_bench.errors import UserError
from ril_bench.leaderboard.entry import RESUBMIT, Entry
from ril_bench.reporting.trained_tasks import updates_of
from ril_bench.storage import names


def of_steps(entry: Entry) -> Iterator[UserError]:
    """Exactly the evaluation's rows, once each: steps x rewards x prompts x samples."""
    where, key = str(entry.file(names.SCORES)), ["step", "reward", "prompt_id", "sample"]
    spec = entry.sequence.evaluation
    asked = product(
        range(len(entry.sequence.order) + 1),
        entry.sequence.rewards,
        (f"{i:03d}" for i in range(spec.prompts)),
        range(spec.images_per_prompt),
    )
    found, wanted = pd.MultiIndex.from_frame(entry.scores[key]), pd.MultiIndex.from_tuples(asked, names=key)
    for what, wrong in (
        ("twice", found[found.duplicated()]),
        ("missing", wanted.difference(found)),
        ("not the evaluation's", found.difference(wanted)),
    ):
        if len(wrong):
            first = ", ".join(f"{name} {value}" for name, value in zip(key, wrong[0], strict=True))
            yield UserError(f"{len(wrong)} rows are {what}, first: {first}"[:300], where=where, hint=RESUBMIT)
    trained = entry.scores["trained"] == entry.scores["reward"].isin(entry.sequence.order)
    if not trained.all():
        yield UserError("`trained` marks other rewards than the sequence's tasks", where=where, hint=RESUBMIT)


def between_updates(entry: Entry) -> Iterator[UserError]:
    """anytime.parquet has exactly the rows of the evaluations between updates, where the sequence has those."""
    spec, where = entry.sequence.evaluation, str(entry.file(names.ANYTIME))
    if (entry.within is None) != (spec.every is None):
        what = (
            "is missing" if entry.within is None else "is there, and the sequence evaluates after tasks only"
        )
        yield UserError(f"{names.ANYTIME} {what}", where=str(entry.folder), hint=RESUBMIT)
    if entry.within is None or spec.every is None:
        return
    rows = entry.within[["step", "update", "reward", "prompt_id", "sample"]]
    prompts = [f"{i:03d}" for i in range(spec.prompts)]
    each = len(entry.sequence.rewards) * len(prompts) * spec.images_per_prompt
    # Earlier versions did not evaluate the end of a training as one between updates where a consolidation follows.
    ends = {i: (updates_of(step) or 0, step.get("updates")) for i, step in enumerate(entry.raw["steps"]) if i}
    allowed = {i: range(spec.every, last, spec.every) for i, (last, _) in ends.items()}
    needed = sum(len(updates) - (ends[i][1] in updates) for i, updates in allowed.items())
    found = rows.drop_duplicates().groupby(["step", "update"]).size()
    fits = (
        len(rows) == each * len(found)
        and needed <= len(found) <= sum(map(len, allowed.values()))
        and all(update in allowed.get(step, ()) for step, update in found.index)
        and (found == each).all()
        and rows["reward"].isin(entry.sequence.rewards).all()
        and rows["prompt_id"].isin(prompts).all()
        and rows["sample"].isin(range(spec.images_per_prompt)).all()
    )
    if not fits:
        yield UserError(
            f"its {len(rows)} rows are not those of an evaluation every {spec.every} updates",
            where=where,
            hint=RESUBMIT,
        )
