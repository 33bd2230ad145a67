"""Plans a grid, runs every run that is not complete, and returns the outcome of each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ril_bench.config.counts import count
from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute
from ril_bench.machine.devices import named_device
from ril_bench.running.plan import RunPlan
from ril_bench.running.progress import Reporter, duration
from ril_bench.storage.run_folder import RunFolder
from ril_bench.studies.grid.axes import GridSpec, plans
from ril_bench.studies.grid.cells import cells as cells_of
from ril_bench.studies.grid.cells import shard as shard_of
from ril_bench.studies.grid.forecast import Forecast, forecast
from ril_bench.studies.grid.live import watching
from ril_bench.studies.grid.ray_cluster import on_ray
from ril_bench.studies.grid.workers import Cell, Failure, Machine, jobs_that_fit, side_by_side

THREADS = 1  # of a cell: on small models, two cells with one thread each are faster than one with two threads


@dataclass(frozen=True)
class Outcome:
    """The outcome of a cell: its folder, and its failure, None if the run is complete."""

    folder: Path
    failure: Failure | None

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {"folder": str(self.folder), "failure": self.failure and asdict(self.failure)}


@dataclass(frozen=True)
class GridPlan:
    """The plan of a grid; `str()` describes it in words.

    Attributes:
        runs: the number of runs of the whole grid.
        cells: the runs of this shard.
        left: the runs of this shard that are not complete.
        jobs: runs at the same time; None for as many as a Ray cluster holds.
        cost: the forecast cost of the runs in `left`.
    """

    out: Path
    runs: int
    cells: Sequence[Cell]
    left: Sequence[Cell]
    jobs: int | None
    threads: int
    device: str
    cost: Forecast

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        left = {cell.plan.folder(self.out) for cell in self.left}
        return {
            "runs_of_the_grid": self.runs,
            "runs": [
                {
                    "folder": str(folder),
                    "complete": folder not in left,
                    "sequence": cell.plan.sequence.name,
                    "method": cell.plan.method,
                    "options": cell.plan.method_options,
                    "tuner": cell.plan.tuner,
                    "order": cell.plan.order,
                    "seed": cell.plan.seed,
                }
                for cell in self.cells
                for folder in [cell.plan.folder(self.out)]
            ],
            "jobs": self.jobs,
            "threads": self.threads,
            "device": self.device,
            "evaluations": self.cost.evaluations,
            "seconds": None if self.cost.seconds is None else self.cost.seconds / (self.jobs or 1),
        }

    def __str__(self) -> str:
        shard = f", {len(self.cells)} of them in this shard" if len(self.cells) < self.runs else ""
        counts = f"{len(self.cells) - len(self.left)} complete, {len(self.left)} to run"
        if not self.left:
            return f"{self.runs} runs{shard}: {counts}"
        at_once = f"{self.jobs} at a time" if self.jobs else "as many at a time as the cluster holds,"
        lines = [
            f"{self.runs} runs{shard}: {counts}, {at_once} with {self.threads} thread{'s' * (self.threads > 1)} each"
        ]
        evaluations = f"{self.cost.evaluations:,}".replace(",", " ")
        lines.append(f"about {evaluations} denoiser evaluations, and those that the methods add")
        if shared := sum(bool(cell.shared) for cell in self.left):
            lines.append(
                f"{shared} runs begin with the same tasks as another run: those tasks are trained once"
            )
        if self.cost.seconds is None:
            lines.append("time: not known before the first run is complete")
        else:
            time = duration(self.cost.seconds / (self.jobs or 1))
            one_by_one = "" if self.jobs else " if one run follows another"
            lines.append(f"about {time}{one_by_one}, by {self.cost.measured} complete runs in this folder")
        return "\n  ".join(lines)


def plan_grid(
    spec: GridSpec | Sequence[RunPlan],
    out: Path,
    *,
    shard: str | None = None,
    jobs: int | None = None,
    threads: int = THREADS,
    device: str = "cpu",
    engine: Literal["local", "ray"] = "local",
    gpus: float | None = None,
) -> GridPlan:
    """Plans a grid, or a shard "i/n" of it; the runs may also be given one by one.

    The plan has the runs, states which of them are complete, and has the expected cost of the others. The
    arguments are those of `grid`. Raises UserError for combinations that cannot be run.
    """
    whole = cells_of(plans(spec) if isinstance(spec, GridSpec) else spec)
    cells = whole if shard is None else shard_of(whole, shard)
    left = [cell for cell in cells if not cell.plan.is_complete(RunFolder(cell.plan.folder(out)))]
    if engine == "local":
        if gpus is not None:
            raise UserError(
                "only Ray can give a run a part of a GPU", where="--gpus", hint="add --engine ray"
            )
        device = named_device(device)
        jobs = jobs_that_fit(threads, device) if jobs is None else count(jobs, "jobs", least=1)
    jobs = min(jobs, max(1, len(left))) if jobs else None
    return GridPlan(out, len(whole), cells, left, jobs, threads, device, forecast(left, out))


def grid(
    spec: GridSpec | Sequence[RunPlan],
    out: Path,
    *,
    shard: str | None = None,
    jobs: int | None = None,
    threads: int = THREADS,
    device: str = "cpu",
    engine: Literal["local", "ray"] = "local",
    gpus: float | None = None,
    compute: Compute | None = None,
    title: str = "grid",
    reporter: Reporter | None = None,
) -> list[Outcome]:
    """Runs the incomplete runs of a grid, or of a shard "i/n" of it, and returns all outcomes.

    Results with the same `threads` are equal to the byte, so `threads` never depends on the number of jobs.
    Raises UserError, before anything starts, for combinations that cannot be run.

    Args:
        jobs: runs at the same time; None for as many as the cores of this machine allow, one on a GPU, or as
            many as a Ray cluster holds.
        engine: "local" starts processes on this machine, "ray" uses a Ray cluster (`ray_cluster`).
        device: as torch names it; "auto" is resolved on the machine that executes a run.
        gpus: GPUs of each run on Ray, also a part of a GPU; None for one GPU if the device is a GPU.
        title: what the progress is called.
    """
    reporter = reporter or Reporter()
    plan = plan_grid(
        spec, out, shard=shard, jobs=jobs, threads=threads, device=device, engine=engine, gpus=gpus
    )
    reporter.say(str(plan))
    failures: dict[Path, Failure] = {}
    if plan.left:
        reporter.stage(title, len(plan.left))
        machine = Machine(threads, plan.device, compute)
        if engine == "ray":
            ended = on_ray(plan.left, out, jobs=plan.jobs, machine=machine, gpus=gpus)
        else:
            ended = side_by_side(plan.left, out, jobs=plan.jobs or 1, machine=machine)
        with reporter, watching([cell.plan for cell in plan.left], out, reporter):
            for cell, failure in ended:
                name = cell.plan.folder(Path())
                if failure:
                    failures[name] = failure
                    reporter.say(f"failed ({failure.kind}): {name}: {failure.message}")
                reporter.advance(note=str(name))
    return [Outcome(cell.plan.folder(out), failures.get(cell.plan.folder(Path()))) for cell in plan.cells]


def run_all(
    spec: GridSpec | Sequence[RunPlan],
    out: Path,
    *,
    jobs: int | None = None,
    threads: int = THREADS,
    device: str = "cpu",
    compute: Compute | None = None,
    title: str = "grid",
    reporter: Reporter | None = None,
) -> list[Path]:
    """Runs a grid of which every run is needed, and returns the folders of its runs, in the grid's order.

    The arguments are those of `grid`. A failure stops no other run, so that the same call repeats only what failed;
    when all have ended, the first failure in the grid's order is raised.
    """
    outcomes = grid(
        spec, out, jobs=jobs, threads=threads, device=device, compute=compute, title=title, reporter=reporter
    )
    for outcome in outcomes:
        if outcome.failure:
            raise outcome.failure.error(where=str(outcome.folder))
    return [outcome.folder for outcome in outcomes]
