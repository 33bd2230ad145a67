"""Measures the calibration of a sequence, the scale of each reward, with single-task runs.

For each reward, `seeds` runs train one adapter from the pretrained model, with the tuner and the budget of
the sequence. No submission uses these seeds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ril_bench.errors import UserError
from ril_bench.machine.compute import PLAIN, Compute
from ril_bench.metrics.statistics import mean_interval
from ril_bench.running import provenance
from ril_bench.running.plan import RunPlan
from ril_bench.running.progress import Reporter
from ril_bench.sequences.calibrations import Calibration, RewardCalibration
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.sequences.spec import Sequence
from ril_bench.storage.files import to_json, write_files
from ril_bench.storage.read import StoredRun
from ril_bench.studies.grid.workers import run_all
from ril_bench.studies.output_files import output_file

FIRST_SEED = 1001
LEAST_SEEDS = 3


def calibrate(
    name: str,
    *,
    out: Path,
    seeds: int = LEAST_SEEDS,
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
        to: the file to write; None for a file beside the sequence's file. For a sequence that ships, None
            means a file in the current folder, which `ril-bench run` uses if the sequence ships without a
            calibration.
        in_place: replace the calibration that ships with the sequence; for maintainers.
        jobs: runs at the same time; None for as many as the cores allow with `threads` threads each.
        threads: the number of threads of each run.

    Raises:
        UserError: before anything is computed: fewer than three seeds, a sequence that uses the calibration
            of another sequence, or a file that cannot be written.
    """
    reporter = reporter or Reporter()
    sequence = load_sequence(name)
    if seeds < LEAST_SEEDS:
        raise UserError(f"{seeds} seeds are too few", where="--seeds", hint=f"give {LEAST_SEEDS} or more")
    if sequence.calibration is not None:
        raise UserError(
            f"{name} shares the calibration of {sequence.calibration}",
            where="calibration",
            hint=f"ril-bench calibrate {sequence.calibration}",
        )
    file = output_file("sequence", name, f"{sequence.name}.calibration.json", to=to, in_place=in_place)
    cells = [(reward, FIRST_SEED + k) for k in range(seeds) for reward in dict.fromkeys(sequence.order)]
    plans = [single_task(sequence, name, reward, seed) for reward, seed in cells]
    reporter.stage(f"calibrating {name}: single-task runs", len(plans))
    try:
        run_all(plans, out, jobs=jobs, threads=threads, device=device, compute=compute, reporter=reporter)
    finally:
        reporter.close()
    reached: dict[str, list[float]] = {reward: [] for reward in sequence.order}
    for (reward, _), plan in zip(cells, plans, strict=True):
        scores = StoredRun(plan.folder(out)).scores
        after = scores[(scores["step"] == 1) & (scores["reward"] == reward)]
        reached[reward].append(float(after["score"].mean()))
    row_zero = scores[scores["step"] == 0]
    calibration = Calibration(
        sequence=sequence.name,
        version=sequence.version,
        made_with={
            "cpu": provenance.processor(),
            "device": device,
            "compute": (compute or PLAIN).numerics,
            "versions": provenance.versions(),
            "git": provenance.revision(),
            "sequence_sha256": sequence.sha256,
            "method": plans[0].method,
            "seeds": sorted({seed for _, seed in cells}),
        },
        rewards={
            reward: _entry(row_zero, reward, sequence.reward(reward), reached.get(reward, []))
            for reward in sequence.rewards
        },
    )
    write_files({file: to_json(calibration.model_dump(mode="json")).encode()})
    return file


def single_task(sequence: Sequence, reference: str, reward: str, seed: int) -> RunPlan:
    """The plan of a run of one task only; every other reward is evaluated as a probe."""
    task = next(task for task in sequence.tasks if task.name == reward)
    others = [reference for name, reference in sequence.rewards.items() if name != reward]
    evaluation = sequence.evaluation.model_copy(update={"probes": others})
    alone = sequence.model_copy(update={"tasks": [task], "evaluation": evaluation})
    return RunPlan(
        sequence=alone,
        reference=reference,
        method="naive",  # with a single task, naive is the tuner alone
        method_options={},
        seed=seed,
        order=f"only-{reward}",
        official=False,
        comparable=False,
        purpose="calibration",
    )


def _entry(row_zero: pd.DataFrame, reward: str, cls: Any, seeds: list[float]) -> RewardCalibration:
    rows = row_zero[row_zero["reward"] == reward]
    prompts = rows.groupby("prompt_id")["score"].mean()
    u = mean_interval(seeds) if seeds else None
    return RewardCalibration(
        direction=cls.direction,
        unit=cls.unit,
        b=float(rows["score"].mean()),
        sigma=float(prompts.std(ddof=1)),
        u=u.mean if u else None,
        se=u.se if u else None,
        seeds=seeds,
    )
