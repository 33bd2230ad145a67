"""What docs/reproducibility.md shows: what each method and tuner was held against, and what was measured.

python docs/studies/reproducibility.py methods     # `make readme` writes both tables into the page
python docs/studies/reproducibility.py tuners

The words are those of reproducibility.yaml; the verdicts come from the leaderboard and from the claims.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from tables import as_markdown
from verdicts import helped, measured_on_the_leaderboard, verdict

from ril_bench.studies.claims.claim_file import read_claim
from ril_bench.studies.claims.verdict import stored_verdict

FACTS = Path(__file__).with_suffix(".yaml")


def facts(kind: str) -> dict[str, dict[str, str]]:
    """{name: {"claims", "limit", "test", and for some tuners "study"}}, sorted by name."""
    found: dict[str, dict[str, str]] = yaml.safe_load(FACTS.read_text("utf-8"))[kind]
    return dict(sorted(found.items()))


def methods() -> str:
    """A row a method: its claim, its limit, its measured differences to naive tuning, and where these are gains."""
    measured = measured_on_the_leaderboard()
    rows = [
        [f"`{name}`", own["claims"], limit(own), verdict(name, measured), helped(name)]
        for name, own in facts("methods").items()
    ]
    head = ["method", "what its paper claims", "held against", "measured against naive", "where it helped"]
    return as_markdown(head, rows, words=True)


def tuners() -> str:
    """A row a tuner: its claim, its limit, and the verdict of the claim file that tests it."""
    rows = [
        [f"`{name}`", own["claims"], limit(own), *verdict_of_tuner(own.get("study"))]
        for name, own in facts("tuners").items()
    ]
    head = ["tuner", "what its paper claims", "held against", "command", "verdict"]
    return as_markdown(head, rows, words=True)


def verdict_of_tuner(study: str | None) -> tuple[str, str]:
    if study is None:
        return "–", "no claim file yet"
    claim = read_claim(study)
    stored = stored_verdict(claim)
    current = stored is not None and stored.claim_sha256 == claim.sha256
    word = stored.verdict if stored is not None and current else "not run yet"
    return f"`ril-bench reproduce {study}`", f"[{word}](claims.md#{study})"


def limit(own: dict[str, str]) -> str:
    """What the code is tested against, with the test's file."""
    return f"{own['limit']} (`{own['test'].partition('::')[0]}`)"


if __name__ == "__main__":
    print({"methods": methods, "tuners": tuners}[sys.argv[1]](), end="")
