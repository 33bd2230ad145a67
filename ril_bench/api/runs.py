"""The verbs that train: run, grid and demo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ril_bench.api.alone import alone
from ril_bench.api.common import DEMO_METHODS, DEMO_SEQUENCE, OUT, THREADS, Settings, reporter_of, set_network
from ril_bench.api.notebook import Run
from ril_bench.storage.files import expanded

if TYPE_CHECKING:
    from ril_bench.running.plan import RunPlan
    from ril_bench.studies.grid.axes import GridSpec
    from ril_bench.studies.grid.grid import Outcome


@alone
def run(
    sequence: str,
    *,
    method: str,
    tuner: str | None = None,
    order: str = "given",
    seed: int = 0,
    preset: str | None = None,
    settings: Settings = (),
    label: str | None = None,
    out: str | Path = OUT,
    device: str = "auto",
    threads: int = THREADS,
    compute: Settings = (),
    offline: bool = False,
    tracker: str | None = None,
    repair: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> Run:
    """Trains a model on a sequence of rewards, one after another, and evaluates it after each.

    Call it again to continue a run that was interrupted; a complete run is returned at once.

    Args:
        sequence: a name (`ril_bench.list("sequence")`), or the path of a YAML file.
        method: a name, or the path of a .py file.
        tuner: a tuner to use instead of the sequence's; None keeps the sequence's tuner.
        order: the order of the tasks: "given", "reversed", or their numbers, "2-3-1".
        seed: decides every random number of the training.
        preset: published settings by name (`ril_bench.list("preset")`); None changes nothing.
        settings: changes to the sequence and the method: {"budget.updates": 10, "method.strength": 0.1}.
        label: a name for changed settings; None derives a name from them.
        out: the folder that holds all runs.
        device: "cpu", "cuda", "cuda:1", ...; "auto" uses a GPU if there is one.
        threads: CPU threads. The same number of threads gives the same bytes.
        compute: how to compute: {"dtype": "bfloat16"}; see `ril_bench.machine.compute`. A run that is continued
            keeps the options that it began with.
        offline: download nothing.
        tracker: also log to "tensorboard" or "wandb"; None logs to the run's folder only.
        repair: compute damaged files of the run again; without it, a damaged file is an error.
        quiet: print no progress.
        verbose: print a line for every update.

    Raises:
        UserError: the request is wrong.
        NumericalError: a value of the training is not finite.
    """
    set_network(offline)
    plan = plan_of(sequence, method, tuner, order, seed, preset, settings, label)

    # Only now, so that a wrong name is refused before torch is imported.
    from ril_bench.machine.compute import compute_of
    from ril_bench.machine.devices import named_device
    from ril_bench.machine.parallel import team
    from ril_bench.reporting.run_page import write_page_after_run
    from ril_bench.running.runner import Runner
    from ril_bench.running.trackers import Tracker

    folder, reporter = plan.folder(expanded(out)), reporter_of(quiet, verbose)
    runner = Runner(
        plan,
        expanded(out),
        device=named_device(device),
        threads=threads,
        compute=compute_of(compute) if compute else None,
        tracker=Tracker(tracker, folder, str(plan.folder(Path())), plan.identity()) if tracker else None,
        repair=repair,
        reporter=reporter,
    )
    path = runner.execute()
    if team().main:
        write_page_after_run(path)
    return Run(path)


@alone
def grid(
    file: str | Path | GridSpec | None = None,
    *,
    sequences: Sequence[str] = (),
    methods: Sequence[str] = (),
    tuners: Sequence[str] = (),
    orders: Sequence[str] = (),
    seeds: Sequence[int] = (),
    settings: Settings = (),
    shard: str | None = None,
    jobs: int | None = None,
    engine: Literal["local", "ray"] = "local",
    gpus: float | None = None,
    out: str | Path = OUT,
    device: str = "auto",
    threads: int = THREADS,
    compute: Settings = (),
    offline: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> list[Outcome]:
    """Runs every combination of sequences, methods, tuners, orders and seeds.

    Combinations that are complete are not repeated.

    A failed run is recorded and does not stop the others; the same call tries it again.

    Args:
        file: a YAML file with the axes; an axis that is given here replaces the file's. A `GridSpec` is used as it is.
        tuners: empty means the tuner of each sequence.
        orders: "given", "reversed", "2-3-1", or "latin" for all cyclic shifts; empty means "given".
        seeds: empty means seed 0.
        settings: changes for every run: {"budget.updates": 10}.
        shard: "i/n": only part i of n, for array jobs; None means all runs.
        jobs: runs at the same time; None means the number of cores divided by `threads`, and one on a GPU.
        engine: "local" starts processes on this machine, "ray" uses a Ray cluster.
        gpus: GPUs for each run on Ray; 0.5 is half a GPU; None means one if the device is a GPU.
        threads: CPU threads of each run.

    The other arguments are those of `run`. Raises UserError, before anything starts, for combinations that cannot run.
    """
    from ril_bench.machine.compute import compute_of
    from ril_bench.studies.grid.grid import grid

    set_network(offline)
    return grid(
        spec_of(file, sequences, methods, tuners, orders, seeds, settings),
        expanded(out),
        shard=shard,
        jobs=jobs,
        threads=threads,
        device=device,
        engine=engine,
        gpus=gpus,
        compute=compute_of(compute) if compute else None,
        reporter=reporter_of(quiet, verbose),
    )


@alone
def demo(
    *,
    sequence: str = DEMO_SEQUENCE,
    methods: Sequence[str] = DEMO_METHODS,
    jobs: int | None = None,
    out: str | Path = OUT / "demo",
    device: str = "auto",
    threads: int = THREADS,
    quiet: bool = False,
    verbose: bool = False,
) -> list[Run]:
    """Runs a sequence of two tasks with several methods, and writes a page that compares them.

    The page is OUT/index.html. The other arguments are those of `grid`. Raises the first failure of a run,
    after the others have ended.
    """
    from ril_bench.reporting.side_by_side import write_side_by_side
    from ril_bench.studies.grid.grid import run_all

    folders = run_all(
        spec_of(None, [sequence], methods, (), (), (), ()), expanded(out), jobs=jobs, threads=threads,
        device=device, title="demo", reporter=reporter_of(quiet, verbose),
    )  # fmt: skip
    write_side_by_side(folders, expanded(out) / "index.html")
    return [Run(folder) for folder in folders]


def plan_of(
    sequence: str,
    method: str,
    tuner: str | None,
    order: str,
    seed: int,
    preset: str | None,
    settings: Settings,
    label: str | None,
) -> RunPlan:
    """The plan of a run from the arguments of `run` and `preview`."""
    from ril_bench.config.settings import parse_settings
    from ril_bench.running.plan import plan_run

    return plan_run(
        sequence, method, seed=seed, tuner=tuner, settings=parse_settings(settings), label=label, order=order,
        preset=preset,
    )  # fmt: skip


def spec_of(
    file: str | Path | GridSpec | None,
    sequences: Sequence[str],
    methods: Sequence[str],
    tuners: Sequence[str],
    orders: Sequence[str],
    seeds: Sequence[int],
    settings: Settings,
) -> GridSpec:
    """The axes of a grid from the arguments of `grid` and `preview_grid`."""
    from ril_bench.config.settings import parse_settings
    from ril_bench.studies.grid.axes import GridSpec, axes

    if isinstance(file, GridSpec):
        return file
    given = {"sequences": sequences, "methods": methods, "tuners": tuners, "orders": orders, "seeds": seeds}
    chosen = {name: list(values) for name, values in given.items() if values}
    return axes(expanded(file), chosen, parse_settings(settings))
