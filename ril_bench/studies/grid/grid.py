"""A grid, made: the plan first, then every cell that is not there yet, then how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute
from ril_bench.machine.devices import named_device
from ril_bench.running.progress import Reporter, spoken
from ril_bench.storage.run_folder import RunFolder
from ril_bench.studies.grid.axes import GridSpec, plans
from ril_bench.studies.grid.cells import cells as cells_of
from ril_bench.studies.grid.cells import shard as shard_of
from ril_bench.studies.grid.forecast import forecast
from ril_bench.studies.grid.ray_cluster import on_ray
from ril_bench.studies.grid.workers import Cell, Failure, Machine, jobs_that_fit, side_by_side

THREADS = 1  # a cell's: on small models two cells with one thread each beat one with two


@dataclass(frozen=True)
class Outcome:
    """A cell's folder; `failure` is None where the run is complete."""

    folder: Path
    failure: Failure | None

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"folder": str(self.folder), "failure": self.failure and asdict(self.failure)}


def grid(
    spec: GridSpec,
    out: Path,
    *,
    shard: str | None = None,
    jobs: int | None = None,
    threads: int = THREADS,
    device: str = "cpu",
    engine: Literal["local", "ray"] = "local",
    gpus: float | None = None,
    compute: Compute | None = None,
    dry_run: bool = False,
    reporter: Reporter | None = None,
) -> list[Outcome]:
    """Makes the runs of a grid (or of a shard "i/n" of it) that are not complete yet, and returns how each one ended.

    The bytes of a result hold at equal `threads`, so that is not made of the number of jobs. Raises UserError,
    before anything starts, for combinations that cannot be run.

    Args:
        jobs: runs at once; unless told, what this machine's cores allow, one on a GPU, or what a Ray cluster holds.
        engine: where runs are made: processes of this machine, or a Ray cluster (see `grids.cluster`).
        device: as torch names it; auto is found out where a run is made.
        gpus: of each run on Ray; one where the device is a GPU's unless told, and a part of one will do.
    """
    reporter = reporter or Reporter()
    every = cells_of(plans(spec))
    mine = shard_of(every, shard) if shard else every
    left = [cell for cell in mine if not cell.plan.is_complete(RunFolder(cell.plan.folder(out)))]
    if engine == "local":
        if gpus is not None:
            raise UserError("a part of a GPU is Ray's to give", where="--gpus", hint="--engine ray")
        device = named_device(device)
        jobs = jobs or jobs_that_fit(threads, device)
    jobs = min(jobs, max(1, len(left))) if jobs else None
    reporter.say(_said(every, mine, left, out, jobs, threads))
    if dry_run:
        return []
    failures: dict[Path, Failure] = {}
    if left:
        reporter.stage("grid", len(left))
        machine = Machine(threads, device, compute)
        if engine == "ray":
            share = gpus if gpus is not None else float(device.startswith("cuda"))
            ended = on_ray(left, out, jobs=jobs, machine=machine, gpus=share)
        else:
            ended = side_by_side(left, out, jobs=jobs or 1, machine=machine)
        for cell, failure in ended:
            name = cell.plan.folder(Path())
            if failure:
                failures[name] = failure
                reporter.say(f"failed ({failure.kind}): {name}: {failure.message}")
            reporter.advance(note=str(name))
        reporter.close()
    return [Outcome(cell.plan.folder(out), failures.get(cell.plan.folder(Path()))) for cell in mine]


def _said(
    every: Sequence[Cell],
    mine: Sequence[Cell],
    left: Sequence[Cell],
    out: Path,
    jobs: int | None,
    threads: int,
) -> str:
    """The plan and its cost, in words."""
    expected = forecast(left, out)
    lines = [
        f"{len(every)} runs, {len(mine)} of them in this shard"
        if len(mine) < len(every)
        else f"{len(every)} runs"
    ]
    lines[0] += f": {len(mine) - len(left)} complete, {len(left)} to make"
    if left:
        at_once = f"{jobs} at a time" if jobs else "as many at a time as the cluster holds,"
        lines[0] += f", {at_once} with {threads} thread{'s' * (threads > 1)} each"
        count = f"{expected.evaluations:,}".replace(",", " ")
        lines.append(f"about {count} denoiser evaluations, and what the methods add")
        shared = sum(bool(cell.shared) for cell in left)
        if shared:
            lines.append(f"{shared} runs begin as another one does: what they share is made once")
        if expected.seconds is None:
            lines.append("time: not known before the first of them is done")
        else:
            lines.append(
                f"about {spoken(expected.seconds / (jobs or 1))}{'' if jobs else ' of one run after another'}, "
                f"by {expected.measured} runs that were measured here"
            )
    return "\n  ".join(lines)
