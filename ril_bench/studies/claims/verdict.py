"""The verdict on a claim, NAME.verdict.json: each comparison with its interval, and what would decide it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, PrivateAttr

from ril_bench.config.validation import Part, validated
from ril_bench.config.yaml_source import read_source
from ril_bench.metrics.statistics import (
    CLAIM_UNITS,
    CLAIMED_P,
    holm,
    mean_interval,
    paired_p,
    units_to_exclude,
)
from ril_bench.reporting.text import decimals, fixed, signed
from ril_bench.studies.claims.claim_file import Claim, Expected
from ril_bench.studies.claims.compared import Compared

Word = Literal["held", "did not hold", "undecided"]
HELD: Final = "held"
FAILED: Final = "did not hold"
OPEN: Final = "undecided"


class ComparisonVerdict(Part):
    """One comparison on one sequence, over seeds.

    Attributes:
        what: the compared quantity, in words.
        values: of each seed, in the order of the verdict's seeds.
        low: lower end of the 95% interval of the mean; None for a single seed.
        p: of the t test of the mean against the margin, two-sided; None for a single seed.
        p_holm: p, adjusted by Holm for all comparisons of the claim.
        seeds_needed: seeds with which the interval would exclude the margin, if mean and spread stayed; None where
            that is not known, or more than 1000.
    """

    sequence: str
    what: str
    expected: Expected
    margin: float
    values: list[float]
    mean: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    verdict: Word
    seeds_needed: int | None

    @property
    def on_the_claimed_side(self) -> bool:
        """Whether the mean is on the side of the margin that is claimed."""
        return self.mean > self.margin if self.expected == "higher" else self.mean < self.margin

    @property
    def measured(self) -> str:
        """The mean with its interval; every value where seeds are too few for an interval."""
        if len(self.values) < CLAIM_UNITS or self.low is None or self.high is None:
            return ", ".join(map(signed, self.values))
        places = decimals([self.mean, self.low, self.high])
        return f"{signed(self.mean, places)} [{fixed(self.low, places)}, {fixed(self.high, places)}]"


class ClaimVerdict(Part):
    """A claim, as the runs of some seeds decide it.

    Attributes:
        claim_sha256: `Claim.sha256` of the claim that was tested.
        made_with: the date; commits, machines, threads and seconds of the runs; versions of the sequences.
    """

    claim: str
    claim_sha256: str
    verdict: Word
    seeds: list[int] = Field(min_length=1)
    comparisons: list[ComparisonVerdict] = Field(min_length=1)
    made_with: dict[str, Any]

    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """The file that holds the verdict."""
        return self._file

    @property
    def seeds_needed(self) -> int | None:
        """The seeds with which every undecided comparison would be decided; None where that is not known."""
        needed = [one.seeds_needed for one in self.comparisons if one.verdict == OPEN]
        known = [seeds for seeds in needed if seeds is not None]
        return max(known) if known and len(known) == len(needed) else None

    @property
    def advice(self) -> str | None:
        """What would decide an undecided claim, in a sentence; None for a decided one."""
        if self.verdict != OPEN:
            return None
        have = len(self.seeds)
        if have < CLAIM_UNITS and self.seeds_needed is None:
            return f"{CLAIM_UNITS} seeds are the fewest that can decide it."
        if self.seeds_needed is None:
            return "More than 1000 seeds would be needed: the difference is too small, or there is none."
        if (
            self.seeds_needed <= have
        ):  # Holm's correction asks for more than an interval that excludes the margin
            return "A few more seeds would decide it."
        more = self.seeds_needed - have
        against = any(one.verdict == OPEN and not one.on_the_claimed_side for one in self.comparisons)
        return (
            f"About {more} more seed{'s' * (more > 1)} would decide that it {FAILED if against else HELD}, if mean and "
            f"spread stay as they are."
        )


def decided(
    claim: Claim, compared: Sequence[Compared], seeds: int, made_with: Mapping[str, Any]
) -> ClaimVerdict:
    """The verdict from the values of all comparisons.

    A claim held if all its comparisons held: the 95% interval of the mean over seeds lies on the claimed side of the
    margin. That all of them hold needs no correction for their number [Berger 1982]. It did not hold if one comparison
    lies significantly on the other side, after Holm's correction for all comparisons. Otherwise, and below five seeds,
    it is undecided.
    """
    judged = _judged(compared)
    words = {one.verdict for one in judged}
    word: Word = FAILED if FAILED in words else OPEN if OPEN in words else HELD
    return ClaimVerdict(
        claim=claim.name,
        claim_sha256=claim.sha256,
        verdict=word,
        seeds=list(range(seeds)),
        comparisons=judged,
        made_with=dict(made_with),
    )


def _judged(compared: Sequence[Compared]) -> list[ComparisonVerdict]:
    p = {
        k: paired_p(dict(enumerate(one.values)), dict.fromkeys(range(len(one.values)), one.margin))
        for k, one in enumerate(compared)
    }
    adjusted = holm(p)
    found = []
    for k, one in enumerate(compared):
        interval = mean_interval(one.values)
        better = 1 if one.expected == "higher" else -1
        ahead = better * (interval.mean - one.margin)
        nearest_end = better * ((interval.low if better > 0 else interval.high) - one.margin)
        word: Word = OPEN
        if interval.claims and nearest_end > 0:
            word = HELD
        elif interval.claims and ahead < 0 and adjusted[k] < CLAIMED_P:
            word = FAILED
        found.append(
            ComparisonVerdict(
                sequence=one.sequence,
                what=one.what,
                expected=one.expected,
                margin=one.margin,
                values=list(one.values),
                mean=interval.mean,
                low=_known(interval.low),
                high=_known(interval.high),
                p=_known(p[k]),
                p_holm=_known(adjusted[k]),
                verdict=word,
                seeds_needed=units_to_exclude(interval, one.margin),
            )
        )
    return found


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def verdict_name(claim: str) -> str:
    """The name of the file of a claim's verdict."""
    return f"{claim}.verdict.json"


def in_a_word(claim: Claim, verdict: ClaimVerdict | None) -> str:
    """The verdict in a word; a verdict on an earlier version of the claim does not count."""
    if verdict is None:
        return "not yet run"
    if verdict.claim_sha256 != claim.sha256:
        return "not yet run since it was changed"
    words = [one.verdict for one in verdict.comparisons]
    if len(words) == 1 or verdict.verdict == "held":
        return verdict.verdict
    return f"{verdict.verdict}: {words.count('held')} of {len(words)} comparisons held"


def stored_verdict(claim: Claim) -> ClaimVerdict | None:
    """The verdict beside the file of a claim; None where there is none. Raises UserError for a file with faults."""
    file = claim.file.with_name(verdict_name(claim.name))
    if not file.exists():
        return None
    verdict = validated(ClaimVerdict, read_source(file))
    verdict._file = file
    return verdict
