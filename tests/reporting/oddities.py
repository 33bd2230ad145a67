"""A leaderboard of entries that `check` accepts, each as odd as its rules allow, all on one page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ril_bench.leaderboard.bounds import RANGES
from ril_bench.leaderboard.record import MethodCard
from ril_bench.storage.entry_note import LEVELS, EntryNote
from ril_bench.storage.read import StoredRun, read_run
from tests.reporting.synthetic import write_run

SEEDS = 5
#: lines of a card: markup, formulas of spreadsheets, other scripts, marks that stack, no place to break a line
TEXTS = (
    "</td></table><script>alert(1)</script><img src=x onerror=alert(1)>",
    '=HYPERLINK("https://example.org"), @everyone, {{ 7 * 7 }}, ${7 * 7}, %(x)s, \\input{/etc/passwd}, $x^2$, | a |',
    "العربية עברית 汉字 日本語 한국어 👩‍👩‍👧‍👦 a\u0300\u0301\u0302\u0303\u0304",
    "W" * 300,
    "-",
)
NAMES = (
    "naive",
    "M" * 80,
    "0",
    "1e999",
    "a" + "._-" * 20,
    "x-SUM.A1",
    "undefined",
    "null",
    "constructor",
)
LABELS = (None, "strength=" + "9" * 100, "a=1,b=2+c=-3.5e+300", None, "x=true")
#: what a run of a method may state: the ends of its bounds
EXTREMES: tuple[Callable[[dict[str, Any]], None], ...] = (
    lambda metrics: None,
    lambda metrics: _set(metrics["fidelity"]["steps"], fid=RANGES["fid"][1], kid=RANGES["kid"][1]),
    lambda metrics: _set(metrics["structure"]["steps"], ssim_to_0=-1.0, ms_ssim_to_0=1.0, edges_to_0=0.0),
    lambda metrics: _set(metrics["drift"]["steps"], to_0=RANGES["drift"][1], to_0_se=0.0),
    lambda metrics: metrics["diversity"].update(steps=[]),
    lambda metrics: metrics["structure"].update(worst=[]),
    lambda metrics: metrics.update(anytime=None, notes=[TEXTS[0], TEXTS[3]]),
)


def odd_board(folder: Path) -> list[StoredRun]:
    """Entries of every odd name, label, card, level and extreme, five seeds each; one pair of methods is equal."""
    entries = []
    for k, name in enumerate(NAMES):
        label = LABELS[k % len(LABELS)] if k else None
        card = _card(k)
        for seed in range(SEEDS):
            run = write_run(
                folder / f"{k}" / f"seed-{seed}", method=name, label=label, seed=seed if k != 2 else 0,
                keep=k / len(NAMES), prompts=4, pixels=16, updates=1,
            )  # fmt: skip
            _rewrite(run / "metrics.json", EXTREMES[k % len(EXTREMES)])
            _rewrite(run / "run.json", lambda info, seed=seed, k=k: _odd_run(info, seed, k))
            record = {"level": LEVELS[k % len(LEVELS)], "checked": "2026-01-02", "version": "1" * 40}
            entries.append(StoredRun(read_run(run).folder, EntryNote(card, f"{k:012x}", k % 2 == 1, record)))
    return entries


def _card(k: int) -> dict[str, Any]:
    text = TEXTS[k % len(TEXTS)]
    card = {
        "authors": [text] * (50 if k == 1 else 1),
        "paper": f"https://example.org/{'p' * 270}" if k % 2 else None,
        "code": "http://[::1]:8000/?a=1&b=%3Cscript%3E#x" if k % 3 else None,
        "licence": text,
        "description": text,
        "oracle": False,
        "seeds": SEEDS,
        "trials": {"tuned": 10**15 if k % 2 else 0, "private": 10**15, "how": f"{text}\n\n" * 3},
    }
    MethodCard.model_validate(card)  # so a check accepts it
    return card


def _odd_run(info: dict[str, Any], seed: int, k: int) -> None:
    info["seed"] = seed
    info["method"]["doc"] = TEXTS[k % len(TEXTS)][:500]
    if k == 3:
        for step in info["steps"]:
            step |= {"train_seconds": 1e9, "denoiser_forwards": 10**15, "carried_bytes": 10**15}
    info["hardware"]["cpu"] = TEXTS[k % len(TEXTS)][:200]


def _set(steps: Iterable[dict[str, Any]], **values: float) -> None:
    for step in steps:
        step.update(values)


def _rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_bytes())
    change(content)
    file.write_text(json.dumps(content))
