"""What docs/claims.md shows of the claims that ship: each with its verdict, if one is stored.

python docs/claims.py                              # `make readme` writes it into the page
ril-bench reproduce CLAIM --in-place               # runs a claim, and stores its verdict beside it
"""

from __future__ import annotations

from collections.abc import Iterator

from ril_bench import registry
from ril_bench.reporting.text import count, p_value
from ril_bench.studies.claims.claim_file import Claim, read_claim
from ril_bench.studies.claims.claim_metrics import MEANINGS
from ril_bench.studies.claims.describe import described_claim
from ril_bench.studies.claims.verdict import ClaimVerdict, in_a_word, stored_verdict


def page() -> str:
    """The table of all claims, the metrics that they compare, and a section for each claim."""
    claims = [read_claim(name) for name in registry.names("claim")]
    verdicts = {claim.name: stored_verdict(claim) for claim in claims}
    facts = {claim.name: described_claim(claim.name) for claim in claims}
    rows = [
        [
            f"[{claim.name}](#{claim.name})",
            in_a_word(claim, verdicts[claim.name]),
            f"{facts[claim.name]['runs']}",
            count(facts[claim.name]["denoiser evaluations"]),
        ]
        for claim in claims
    ]
    parts = [table(["claim", "verdict", "runs, by default", "denoiser evaluations, by default"], rows)]
    parts += [
        "## The metrics",
        table(["metric", "meaning"], [[name, words] for name, words in MEANINGS.items()]),
    ]
    for claim in claims:
        parts += section(claim, facts[claim.name], verdicts[claim.name])
    return "\n\n".join(parts)


def section(claim: Claim, facts: dict[str, object], verdict: ClaimVerdict | None) -> Iterator[str]:
    """What a claim says, what decides it, and what was measured."""
    yield f"## {claim.name}"
    yield claim.claim
    yield "\n".join(
        [
            f"- Source: {claim.source}",
            f"- Sequences: {', '.join(f'`{name}`' for name in facts['sequences'])}",
            f"- Arms: {'; '.join(f'`{arm}`' for arm in facts['arms'])}",
            f"- Settings of all arms: {settings(facts['settings of all arms'])}",
            *(f"- It holds if: {words}" for words in claim.words),
        ]
    )
    if verdict is None:
        yield f"Not yet run: `ril-bench reproduce {claim.name}`"
        return
    made = verdict.made_with
    machines = f"{', '.join(made['machines'])} with {', '.join(map(str, made['threads']))} thread(s) a run"
    yield (
        f"**{in_a_word(claim, verdict).capitalize()}**, on {len(verdict.seeds)} seeds: "
        f"`ril-bench reproduce {claim.name} --seeds {len(verdict.seeds)}`, commit {', '.join(made['commits'])}, "
        f"{made['date']}, {machines}: {made['runs']} runs of {made['seconds'] / made['runs']:.0f} s. "
        f"{verdict.advice or ''}".rstrip()
    )
    yield table(
        ["sequence", "compared", "mean, 95% interval", "claimed", "p, by Holm", "verdict"],
        [
            [
                f"`{one.sequence}`",
                one.what,
                one.measured,
                f"{one.expected} than {one.margin:g}",
                "–" if one.p_holm is None else p_value(one.p_holm).removeprefix("= "),
                one.verdict,
            ]
            for one in verdict.comparisons
        ],
    )


def settings(found: object) -> str:
    return ", ".join(f"`{text}`" for text in found) if isinstance(found, list) else str(found)


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    print(page())
