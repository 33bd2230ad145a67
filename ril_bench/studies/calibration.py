"""A sequence's calibration: what each reward's unit is worth there, measured by single-task runs.

For each reward, `seeds` runs of a single adapter from the pretrained model with the sequence's own tuner and budget.
Their seeds are never a submission's.
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
from ril_bench.sequences.calibrations import Calibration, RewardCalibration, calibration_file
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.sequences.spec import Sequence
from ril_bench.storage.run_folder import to_json, write_files
from ril_bench.studies.grid.workers import make_all

FIRST_SEED = 1001
LEAST_SEEDS = 3


def calibrate(
    name: str,
    *,
    out: Path,
    seeds: int = LEAST_SEEDS,
    jobs: int | None = None,
    device: str = "cpu",
    compute: Compute | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Makes tasks/NAME.calibration.json and returns it; the runs lie in `out`, and finished ones are not made again.

    Args:
        jobs: runs side by side; as many as there are cores unless told.

    Raises UserError for fewer than three seeds, or a sequence that shares another's calibration.
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
    cells = [(reward, FIRST_SEED + k) for k in range(seeds) for reward in dict.fromkeys(sequence.order)]
    plans = [single_task(sequence, name, reward, seed) for reward, seed in cells]
    reporter.stage(f"calibrating {name}: {len(plans)} single-task runs", len(plans))
    make_all(plans, out, jobs=jobs, device=device, compute=compute, reporter=reporter)
    reporter.close()
    gained: dict[str, list[float]] = {reward: [] for reward in sequence.order}
    for (reward, _), plan in zip(cells, plans, strict=True):
        scores = pd.read_parquet(plan.folder(out) / "scores.parquet")
        after = scores[(scores["step"] == 1) & (scores["reward"] == reward)]
        gained[reward].append(float(after["score"].mean()))
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
            reward: _entry(row_zero, reward, sequence.reward(reward), gained.get(reward, []))
            for reward in sequence.rewards
        },
    )
    file = calibration_file(sequence)
    write_files({file: to_json(calibration.model_dump(mode="json")).encode()})
    return file


def single_task(sequence: Sequence, reference: str, reward: str, seed: int) -> RunPlan:
    """The run of one task alone, every other reward watched."""
    task = next(task for task in sequence.tasks if task.name == reward)
    others = [reference for name, reference in sequence.rewards.items() if name != reward]
    evaluation = sequence.evaluation.model_copy(update={"probes": others})
    alone = sequence.model_copy(update={"tasks": [task], "evaluation": evaluation})
    return RunPlan(
        sequence=alone,
        reference=reference,
        method="naive",  # on one task it is the plain tuner
        method_options={},
        seed=seed,
        order=f"only-{reward}",
        official=False,
        comparable=False,
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
