"""Collapsed steps: steps whose images no longer follow their prompts, or hardly differ from one another.

Nothing is stored: runs of earlier versions and entries of a leaderboard have what this needs.
"""

from __future__ import annotations

from collections.abc import Mapping

from ril_bench.storage.read import StoredRun

#: a step is collapsed where one of its values is below this share of step 0's
LEAST_SHARE = 0.8
#: probes, and trained rewards, that state whether an image follows its prompt
WATCHED = ("attributes", "clip_score")
DIVERSITY = "diversity"

Shares = dict[int, dict[str, float]]


def shares(run: StoredRun) -> Shares:
    """{step: {name: its value as a share of step 0's}}, for WATCHED and the diversity, where the run has them.

    The diversity is the mean pairwise distance of a prompt's images, which is 0 for equal images. (The Vendi score of
    two images only falls to 1, and is 1.1 for the pretrained model on shapes-64.) A value that is not positive at step
    0 has no share.
    """
    by_name: dict[str, Mapping[int, float | None]] = {
        name: dict(zip(run.steps, (row[run.columns.index(name)] for row in run.matrix), strict=True))
        for name in WATCHED
        if name in run.columns
    }
    by_name[DIVERSITY] = dict(run.per_step("diversity", "pairwise"))
    found: Shares = {}
    for name, values in by_name.items():
        before = values.get(0)
        for step, value in values.items():
            if before is not None and before > 0 and value is not None:
                found.setdefault(step, {})[name] = value / before
    return dict(sorted(found.items()))


def collapsed(run: StoredRun) -> Shares:
    """The collapsed steps, each with the shares that are below LEAST_SHARE."""
    low = {
        step: {name: share for name, share in own.items() if share < LEAST_SHARE}
        for step, own in shares(run).items()
    }
    return {step: own for step, own in low.items() if own}
