"""Runs what a claim compares, and writes the verdict."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute
from ril_bench.running.plan import RunPlan
from ril_bench.running.progress import Reporter
from ril_bench.storage.files import to_json, write_files
from ril_bench.storage.read import StoredRun, read_whole_run
from ril_bench.studies.claims.claim_file import Claim, read_claim
from ril_bench.studies.claims.compared import compared
from ril_bench.studies.claims.verdict import ClaimVerdict, decided, verdict_name
from ril_bench.studies.grid.axes import plans
from ril_bench.studies.grid.grid import GridPlan, plan_grid, run_all
from ril_bench.studies.output_files import output_file


@dataclass(frozen=True)
class PlannedRun:
    """A run of a claim, and the arm that it belongs to."""

    arm: str
    plan: RunPlan


def planned(claim: Claim, seeds: int) -> list[PlannedRun]:
    """The runs of a claim on the first seeds.

    Raises UserError for combinations that cannot be run, and for arms whose runs would share a folder.
    """
    found = [
        PlannedRun(arm, plan)
        for arm, settings in claim.arms.items()
        for plan in plans(settings.grid(claim.sequences, seeds, claim.set))
    ]
    owner: dict[Path, str] = {}
    for run in found:
        folder = run.plan.folder(Path())
        if owner.setdefault(folder, run.arm) != run.arm:
            raise UserError(
                f"the arms {owner[folder]} and {run.arm} would share the folder {folder}",
                where=str(claim.file),
                hint="give the method of one of them a label: method: {name: naive, label: own}",
            )
    return found


def plan_claim(
    name: str,
    *,
    out: Path,
    seeds: int | None = None,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> GridPlan:
    """The runs of a claim, which of them are complete, and the cost of the others."""
    claim = read_claim(name)
    runs = [run.plan for run in planned(claim, seeds or claim.seeds)]
    return plan_grid(runs, out, jobs=jobs, threads=threads, device=device)


def reproduce(
    name: str,
    *,
    out: Path,
    seeds: int | None = None,
    to: Path | None = None,
    in_place: bool = False,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    compute: Compute | None = None,
    reporter: Reporter | None = None,
) -> ClaimVerdict:
    """Runs what a claim compares, and writes NAME.verdict.json. Complete runs are not repeated.

    The arguments are those of `calibrate`; `seeds` None means the number that the claim states.

    Raises UserError for a claim with faults, and the first failure of a run, after the others have ended.
    """
    claim = read_claim(name)
    count = seeds or claim.seeds
    file = output_file("claim", name, verdict_name(claim.name), to=to, in_place=in_place)
    runs = planned(claim, count)
    folders = run_all(
        [run.plan for run in runs],
        out,
        jobs=jobs,
        threads=threads,
        device=device,
        compute=compute,
        title=f"reproducing {name}",
        reporter=reporter,
    )
    stored = [read_whole_run(folder) for folder in folders]
    by_sequence: dict[str, dict[str, dict[int, StoredRun]]] = {}
    for run, result in zip(runs, stored, strict=True):
        arms = by_sequence.setdefault(run.plan.sequence.name, {})
        arms.setdefault(run.arm, {})[run.plan.seed] = result
    verdict = decided(claim, compared(claim, by_sequence), count, _made_with(stored))
    write_files({file: to_json(verdict.model_dump(mode="json")).encode()})
    verdict._file = file
    return verdict


def _made_with(runs: Sequence[StoredRun]) -> dict[str, Any]:
    """Where the runs come from; some may be older than the verdict."""
    steps = [step for run in runs for step in run.info["steps"]]
    hardware = [run.info["hardware"] for run in runs]
    return {
        "date": datetime.date.today().isoformat(),
        "commits": sorted({_commit(run.info.get("git")) for run in runs}),
        "machines": sorted({str(one.get("gpu") or one.get("cpu")) for one in hardware}),
        "threads": sorted({one["threads"] for one in hardware}),
        "sequences": {run.sequence: run.info["sequence"]["version"] for run in runs},
        "runs": len(runs),
        "seconds": sum(step["train_seconds"] + step["evaluation_seconds"] for step in steps),
    }


def _commit(git: Mapping[str, Any] | None) -> str:
    if git is None:
        return "an installed wheel"
    return f"{git['revision'][:10]}{' with changes' if git['dirty'] else ''}"
