"""A claim as `ril-bench list CLAIM` shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ril_bench import registry
from ril_bench.config.settings import setting_text
from ril_bench.registry import short_name
from ril_bench.running.plan import RunPlan
from ril_bench.studies.claims.claim_file import Arm, read_claim
from ril_bench.studies.claims.reproduce import planned
from ril_bench.studies.claims.verdict import in_a_word, stored_verdict
from ril_bench.studies.grid.cells import cells
from ril_bench.studies.grid.forecast import forecast


def described_claim(name: str) -> dict[str, Any]:
    """The claim, what is compared, its cost, and the stored verdict, as plain data.

    Denoiser evaluations are an upper bound: a task with a criterion may end early.
    """
    claim = read_claim(name)
    runs = [run.plan for run in planned(claim, claim.seeds)]
    return {
        "description": claim.claim,
        "file": str(claim.file),
        "source": claim.source,
        "sequences": sorted({_named(run, claim.file.parent) for run in runs}),
        "settings of all arms": settings_words(claim.set) or "those of the sequences",
        "arms": [arm_words(arm, settings) for arm, settings in claim.arms.items()],
        "it holds if": claim.words,
        "seeds": claim.seeds,
        "runs": len(runs),
        "denoiser evaluations": forecast(cells(runs), Path("runs")).evaluations,
        "verdict": in_a_word(claim, stored_verdict(claim)),
    }


def _named(run: RunPlan, folder: Path) -> str:
    """The sequence of a run as a user may type it: its name, or its file's path from the folder of the claim."""
    if run.sequence.name in registry.names("sequence"):
        return run.sequence.name
    return Path(os.path.relpath(run.reference, folder)).as_posix()


def arm_words(name: str, arm: Arm) -> str:
    """An arm in words: its name, and what differs from naive with the sequence's tuner."""
    parts = [] if arm.method.name == "naive" else [f"method {short_name(arm.method.name)}"]
    parts += settings_words(arm.method.set)
    if arm.tuner:
        parts += [f"tuner {short_name(arm.tuner.name)}", *settings_words(arm.tuner.options)]
    parts += settings_words(arm.set)
    return f"{name} ({' '.join(parts)})" if parts else name


def settings_words(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the command line writes them."""
    return [setting_text(key, value) for key, value in settings.items()]
