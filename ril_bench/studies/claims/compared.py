"""The values that a claim compares, one for each seed, from the runs of its arms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ril_bench.errors import UserError
from ril_bench.metrics.properties import agreement
from ril_bench.metrics.statistics import differences
from ril_bench.storage.read import StoredRun, common_scale
from ril_bench.studies.claims.claim_file import Claim, Comparison, Correlation, Expected
from ril_bench.studies.claims.claim_metrics import METRICS, value_of

#: the runs of an arm on one sequence, by seed
Runs = Mapping[int, StoredRun]


@dataclass(frozen=True)
class Compared:
    """What one comparison compares on one sequence.

    Attributes:
        what: the compared quantity, in words.
        values: one for each seed.
    """

    sequence: str
    what: str
    values: Sequence[float]
    expected: Expected
    margin: float


def compared(claim: Claim, runs: Mapping[str, Mapping[str, Runs]]) -> list[Compared]:
    """Every comparison of a claim on every sequence.

    Args:
        runs: complete runs, by the name of the sequence, then by arm.

    Raises UserError where a run lacks a metric.
    """
    found: list[Compared] = []
    for sequence, arms in runs.items():
        for part in claim.parts:
            if isinstance(part, Comparison):
                found += _differences(part, sequence, arms)
            else:
                found.append(_correlation(part, sequence, arms))
    return found


def _differences(part: Comparison, sequence: str, arms: Mapping[str, Runs]) -> list[Compared]:
    """The comparison with each other arm; with none, the metric itself."""
    own, *others = _by_seed(part.metric, [arms[name] for name in (part.of, *part.against)])
    if not part.against:
        values, what = list(own.values()), f"{part.metric} of {part.of}"
        return [Compared(sequence, what, values, part.expected, part.margin)]
    return [
        Compared(
            sequence,
            f"{part.metric}: {part.of} minus {other}",
            differences(own, values),
            part.expected,
            part.margin,
        )
        for other, values in zip(part.against, others, strict=True)
    ]


def _correlation(part: Correlation, sequence: str, arms: Mapping[str, Runs]) -> Compared:
    """The rank correlation over arms within each seed; 0 where all arms have the same value."""
    x, y = (_by_seed(metric, [arms[arm] for arm in part.among]) for metric in part.metrics)
    found = [agreement([of_arm[seed] for of_arm in x], [of_arm[seed] for of_arm in y]) for seed in x[0]]
    first, second = part.metrics
    what = f"rank correlation of {first} and {second} over {len(part.among)} arms"
    values = [0.0 if math.isnan(value) else value for value in found]
    return Compared(sequence, what, values, part.expected, part.margin)


def _by_seed(metric: str, arms: Sequence[Runs]) -> list[dict[int, float]]:
    """The metric of each arm's runs, by seed. Raises UserError where some arms are normalised and others are not."""
    of_rewards = f"{metric} (z)" in METRICS
    if of_rewards and len({common_scale([run]) for runs in arms for run in runs.values()}) > 1:
        raise UserError(
            f"{metric} is normalised in some of the runs and in z in others",
            where="the arms of the claim: settings that the sequence is not calibrated for",
            hint=f"compare {metric} (z)",
        )
    return [{seed: value_of(metric, run) for seed, run in runs.items()} for runs in arms]
