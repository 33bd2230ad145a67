"""The verbs that conclude something from many runs: tune, calibrate and reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ril_bench.api.alone import alone
from ril_bench.api.common import OUT, THREADS, Settings, reporter_of, set_network
from ril_bench.storage.files import expanded

if TYPE_CHECKING:
    from ril_bench.studies.claims.verdict import ClaimVerdict
    from ril_bench.studies.tuning import Study


@alone
def tune(
    method: str,
    sequence: str,
    *,
    keep: float = 0.8,
    option: str = "strength",
    values: Sequence[float] | None = None,
    prompts: str | None = None,
    tuner: str | None = None,
    settings: Settings = (),
    seeds: int = 2,
    to: str | Path | None = None,
    in_place: bool = False,
    jobs: int | None = None,
    out: str | Path = OUT / "tuning",
    device: str = "auto",
    threads: int = THREADS,
    compute: Settings = (),
    offline: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> Study:
    """Chooses how strongly a method protects, from only the first two tasks of a sequence.

    The choice is the strongest value with which both tasks still gain enough (`keep`). All trials are written into
    METHOD.tuning.json.

    Args:
        keep: the part of naive tuning's gain that each task must reach.
        option: the option that sets how strongly the method protects.
        values: candidates, from the weakest protection to the strongest; None means .001 to 10 000 in half decades.
        prompts: the prompts to evaluate on; None means the sequence's training prompts. Prompts that the sequence
            is evaluated on are refused.
        seeds: the number of runs of each candidate.
        to: the file to write; None means a file beside the method's, or in the current folder for a method that ships.
        in_place: rewrite the file of a method that ships, for maintainers.

    The other arguments are those of `grid`. Raises UserError for an option that the method lacks, a sequence of one
    task, or rewards that naive tuning does not raise.
    """
    from ril_bench.machine.compute import compute_of
    from ril_bench.machine.devices import named_device
    from ril_bench.studies.tuning import STRENGTHS, tune

    set_network(offline)
    return tune(
        method, sequence, keep=keep, option=option, values=STRENGTHS if values is None else values, prompts=prompts,
        tuner=tuner, settings=settings, seeds=seeds, out=expanded(out), jobs=jobs, device=named_device(device),
        threads=threads, to=expanded(to), in_place=in_place,
        compute=compute_of(compute) if compute else None, reporter=reporter_of(quiet, verbose),
    )  # fmt: skip


@alone
def calibrate(
    sequence: str,
    *,
    seeds: int = 10,
    to: str | Path | None = None,
    in_place: bool = False,
    jobs: int | None = None,
    out: str | Path = OUT / "calibration",
    device: str = "auto",
    threads: int = THREADS,
    compute: Settings = (),
    offline: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> Path:
    """Measures the unit of each reward, and whether the sequence can tell methods apart.

    It runs single, naive and joint; complete runs are not repeated.

    Args:
        seeds: the number of runs of naive and of joint, 3 or more; single has at most 5.
        to: the file to write; None means a file beside the sequence's, or in the current folder for one that ships.
        in_place: rewrite the file of a sequence that ships, for maintainers.

    The other arguments are those of `grid`. Returns the file NAME.calibration.json. Raises UserError for fewer than
    three seeds, or a sequence that shares another one's calibration.
    """
    from ril_bench.machine.compute import compute_of
    from ril_bench.machine.devices import named_device
    from ril_bench.studies.calibration import calibrate

    set_network(offline)
    return calibrate(
        sequence, out=expanded(out), seeds=seeds, jobs=jobs, device=named_device(device), threads=threads,
        to=expanded(to), in_place=in_place,
        compute=compute_of(compute) if compute else None, reporter=reporter_of(quiet, verbose),
    )  # fmt: skip


@alone
def reproduce(
    claim: str,
    *,
    seeds: int | None = None,
    to: str | Path | None = None,
    in_place: bool = False,
    jobs: int | None = None,
    out: str | Path = OUT,
    device: str = "auto",
    threads: int = THREADS,
    compute: Settings = (),
    offline: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> ClaimVerdict:
    """Tests a claim of a paper: runs what it compares, and returns the verdict with its intervals.

    Complete runs are not repeated, whether `grid`, `run` or another claim computed them.

    Args:
        claim: a name (`ril_bench.list("claim")`), or the path of a YAML file.
        seeds: the number of seeds; None means the number that the claim states. Fewer than 5 decide nothing.
        to: the file to write; None means a file beside the claim's, or in the current folder for one that ships.
        in_place: rewrite the verdict of a claim that ships, for maintainers.

    The other arguments are those of `grid`. Raises UserError for a claim with faults, and the first failure of a run.
    """
    from ril_bench.machine.compute import compute_of
    from ril_bench.machine.devices import named_device
    from ril_bench.studies.claims.reproduce import reproduce

    set_network(offline)
    return reproduce(
        claim, out=expanded(out), seeds=seeds, to=expanded(to), in_place=in_place, jobs=jobs,
        device=named_device(device), threads=threads, compute=compute_of(compute) if compute else None,
        reporter=reporter_of(quiet, verbose),
    )  # fmt: skip
