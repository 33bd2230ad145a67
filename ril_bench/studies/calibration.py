"""Measures the calibration of a sequence: the unit of each reward, and what the sequence can show.

Runs `single`, `naive` and `joint` on seeds that no submission uses. `single` tunes the pretrained model on each
reward alone, which gives the units; the three methods together give the properties (`metrics.properties`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from ril_bench.errors import UserError
from ril_bench.machine.compute import PLAIN, Compute
from ril_bench.machine.packages import versions
from ril_bench.metrics.properties import LEAST_UNIT
from ril_bench.metrics.statistics import mean_interval
from ril_bench.running import provenance
from ril_bench.running.plan import RunPlan, plan_run
from ril_bench.running.progress import Reporter
from ril_bench.sequences.calibrations import Calibration, RewardCalibration
from ril_bench.sequences.sequence_file import SequenceFile, read_sequence
from ril_bench.storage.files import to_json, write_files
from ril_bench.storage.read import read_whole_run
from ril_bench.studies.evidence import Evidence, property_records
from ril_bench.studies.grid.grid import run_all
from ril_bench.studies.output_files import output_file

FIRST_SEED = 1001
SEEDS, LEAST_SEEDS = 10, 3
#: seeds of `single`, at most: gains scatter by about .08 sigma over seeds, so five give an error below .04 sigma
SINGLE_SEEDS = 5


def calibrate(
    name: str,
    *,
    out: Path,
    seeds: int = SEEDS,
    to: Path | None = None,
    in_place: bool = False,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    compute: Compute | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Measures the calibration of a sequence, and returns the path of NAME.calibration.json.

    Runs are kept in `out`; complete runs are not repeated. Reports leave these runs out, because they are not
    results.

    Args:
        seeds: runs of naive and of joint; `single` has at most five.
        to: the file to write; None for a file beside the sequence's file. For a sequence that ships, None
            means a file in the current folder, which `ril-bench run` uses if the sequence ships without a
            calibration.
        in_place: replace the calibration that ships with the sequence; for maintainers.
        jobs: runs at the same time; None for as many as the cores allow with `threads` threads each.
        threads: the number of threads of each run.

    Raises:
        UserError: before anything is computed: fewer than three seeds, a sequence that uses the calibration
            of another sequence, or a file that cannot be written.
        RilError: the first failure of a run, after the others have ended.
    """
    written = read_sequence(name)
    sequence = written.resolve()
    if seeds < LEAST_SEEDS:
        raise UserError(f"{seeds} seeds are too few", where="--seeds", hint=f"give {LEAST_SEEDS} or more")
    if sequence.calibration is not None:
        raise UserError(
            f"{name} shares the calibration of {sequence.calibration}",
            where="calibration",
            hint=f"ril-bench calibrate {sequence.calibration}",
        )
    file = output_file("sequence", name, f"{sequence.name}.calibration.json", to=to, in_place=in_place)
    plans = {
        method: [_plan(written, method, FIRST_SEED + k) for k in range(count)]
        for method, count in (("single", min(seeds, SINGLE_SEEDS)), ("joint", seeds), ("naive", seeds))
    }
    every = [plan for of_method in plans.values() for plan in of_method]
    run_all(
        every,
        out,
        jobs=jobs,
        threads=threads,
        device=device,
        compute=compute,
        title=f"calibrating {name}",
        reporter=reporter,
    )
    stored = {method: [read_whole_run(plan.folder(out)) for plan in plans[method]] for method in plans}
    evidence = Evidence(sequence, stored["single"], stored["naive"], stored["joint"])
    rewards = _units(evidence)
    calibration = Calibration(
        sequence=sequence.name,
        version=sequence.version,
        made_with={
            "cpu": provenance.processor(),
            "device": device,
            "compute": (compute or PLAIN).numerics,
            "versions": versions(),
            "git": provenance.revision(),
            "sequence_sha256": sequence.sha256,
            "weights": stored["single"][0].info["weights"],
            "seeds": {method: [plan.seed for plan in plans[method]] for method in plans},
        },
        rewards=rewards,
        properties=property_records(evidence, rewards),
    )
    write_files({file: to_json(calibration.model_dump(mode="json")).encode()})
    return file


def _plan(written: SequenceFile, method: str, seed: int) -> RunPlan:
    plan = plan_run(written, method, seed=seed)
    # Not comparable: these runs must not depend on an earlier calibration.
    return replace(plan, official=False, comparable=False, purpose="calibration")


def _units(evidence: Evidence) -> dict[str, RewardCalibration]:
    """The calibration of each reward, probes included."""
    scores = evidence.single[0].scores
    row_zero = scores[scores["step"] == 0]
    return {
        name: _unit(evidence, name, row_zero[row_zero["reward"] == name])
        for name in evidence.sequence.rewards
    }


def _unit(evidence: Evidence, name: str, row_zero: pd.DataFrame) -> RewardCalibration:
    cls, reached = evidence.sequence.reward(name), evidence.reached(name)
    tuned = mean_interval(reached) if reached else None
    entry = RewardCalibration(
        direction=cls.direction,
        unit=cls.unit,
        b=float(row_zero["score"].mean()),
        sigma=float(row_zero.groupby("prompt_id")["score"].mean().std(ddof=1)),
        u=tuned.mean if tuned else None,
        se=tuned.se if tuned else None,
        seeds=reached,
    )
    return entry.model_copy(update={"refused": why_refused(entry)})


def why_refused(entry: RewardCalibration) -> str | None:
    """Why a reward has no unit of N: tuning on it alone gains too little. None for a probe, and for a sound unit."""
    if entry.u is None or entry.se is None:
        return None
    gain, least = entry.direction * (entry.u - entry.b), LEAST_UNIT * entry.sigma
    if entry.sigma > 0 and gain >= max(least, 2 * entry.se):
        return None
    return (
        f"has no unit of N: tuned alone it gains {gain:.3g}; a unit needs {LEAST_UNIT:g} standard deviations over "
        f"prompts ({least:.3g}) and two standard errors ({2 * entry.se:.3g})"
    )
