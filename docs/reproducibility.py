"""What docs/reproducibility.md shows: what each method and tuner was held against, and what was measured.

python docs/reproducibility.py methods             # `make readme` writes both tables into the page
python docs/reproducibility.py tuners

The words are those of reproducibility.yaml; the verdicts come from the leaderboard and from the claims.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ril_bench.reporting.summary import BASELINE, load, table
from ril_bench.reporting.text import fixed, signed
from ril_bench.studies.claims.claim_file import read_claim
from ril_bench.studies.claims.verdict import stored_verdict

ROOT = Path(__file__).parents[1]
SIGNIFICANT = 0.05


def facts(kind: str) -> dict[str, dict[str, str]]:
    """{name: {"claims", "limit", "test", and for some tuners "study"}}, sorted by name."""
    found: dict[str, dict[str, str]] = yaml.safe_load(
        (ROOT / "docs" / "reproducibility.yaml").read_text("utf-8")
    )[kind]
    return dict(sorted(found.items()))


def methods() -> str:
    """A row a method: its claim, its limit, the command, and its measured differences to naive tuning."""
    measured = table(load([ROOT / "leaderboard"]))
    rows = [
        [f"`{name}`", own["claims"], limit(own), f"`{command(name)}`", verdict_of_method(name, measured)]
        for name, own in facts("methods").items()
    ]
    return markdown(
        ["method", "what its paper claims", "held against", "command", "measured against naive"], rows
    )


def command(name: str) -> str:
    both = "" if name == BASELINE else f" -m {name}"
    return f"ril-bench grid --sequence shapes-ril -m {BASELINE}{both} --seed 0-9"


def verdict_of_method(name: str, measured: pd.DataFrame) -> str:
    """The paired differences to naive tuning in FORGET and FINAL; what ten seeds show after Holm's correction."""
    own = measured[(measured["sequence"] == "shapes-ril") & (measured["method"] == name)]
    if own.empty:
        return "not measured yet"
    if name == BASELINE:
        value = own[own["figure"] == "FORGET"].iloc[0]
        return f"forgets: FORGET {fixed(value['mean'])} {between(value['low'], value['high'])}"
    parts = []
    for figure, better, (good, bad) in (
        ("FORGET", -1, ("forgets less", "forgets more")),
        ("FINAL", 1, ("ends higher", "ends lower")),
        ("LEARN", 1, ("learns more", "learns less")),
    ):
        row = own[own["figure"] == figure].iloc[0]
        shown = row["p_holm"] < SIGNIFICANT
        word = (good if better * row["difference"] > 0 else bad) if shown else f"{figure} not told apart"
        interval = between(row["difference_low"], row["difference_high"])
        parts.append(f"{word}: {signed(row['difference'], 2)} {interval}")
    return "; ".join(parts)


def between(low: float, high: float) -> str:
    return f"[{fixed(low)}, {fixed(high)}]"


def tuners() -> str:
    """A row a tuner: its claim, its limit, and the verdict of the claim file that tests it."""
    rows = [
        [f"`{name}`", own["claims"], limit(own), *verdict_of_tuner(own.get("study"))]
        for name, own in facts("tuners").items()
    ]
    return markdown(["tuner", "what its paper claims", "held against", "command", "verdict"], rows)


def verdict_of_tuner(study: str | None) -> tuple[str, str]:
    if study is None:
        return "–", "no claim file yet"
    claim = read_claim(study)
    verdict = stored_verdict(claim)
    current = verdict is not None and verdict.claim_sha256 == claim.sha256
    word = verdict.verdict if verdict is not None and current else "not run yet"
    return f"`ril-bench reproduce {study}`", f"[{word}](claims.md#{study})"


def limit(own: dict[str, str]) -> str:
    """What the code is tested against, with the test's place in the repository."""
    file, _, test = own["test"].partition("::")
    return f"{own['limit']} ([test](../{file}))" if test else own["limit"]


def markdown(head: list[str], rows: list[list[Any]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    print({"methods": methods, "tuners": tuners}[sys.argv[1]]())
