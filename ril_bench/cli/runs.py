"""The verbs that make runs: demo, run, grid, calibrate."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from ril_bench.cli.common import (
    OUT,
    ComputeOption,
    DeviceOption,
    JsonOption,
    OfflineOption,
    OutOption,
    PresetOption,
    ThreadsOption,
    app,
    out_console,
    show_run,
)
from ril_bench.machine.devices import named_device


@app.command()
def demo(
    out: OutOption = OUT / "demo",
    sequence: Annotated[str, typer.Option(help="The sequence to show.")] = "shapes-ril",
    methods: Annotated[list[str], typer.Option("--method", help="What to compare.")] = ["naive", "rid"],  # noqa: B006
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """The embedded sequence with naive and RID, then a page that shows both: the first thing to try."""
    import ril_bench
    from ril_bench.reporting import write_side_by_side

    runs = []
    for method in methods:
        made = ril_bench.run(sequence, method=method, out=out, device=named_device(device), threads=threads)
        show_run(made)
        runs.append(made)
    page = write_side_by_side([made.path for made in runs], out / "index.html")
    out_console.print(f"\nOpen [bold]{page.absolute().as_uri()}[/bold] in a browser.", soft_wrap=True)


@app.command()
def run(
    sequence: Annotated[str, typer.Argument(help="A sequence that ships, or a path to a YAML file.")],
    method: Annotated[
        str, typer.Option("--method", "-m", help="A method that ships, or a path to a .py file.")
    ],
    tuner: Annotated[Optional[str], typer.Option(help="Another tuner than the sequence's.")] = None,  # noqa: UP045
    order: Annotated[
        str, typer.Option(help="Of the tasks: given, reversed, or their numbers: 2-3-1.")
    ] = "given",
    seed: Annotated[int, typer.Option(min=0, help="Decides every draw of the training.")] = 0,
    out: OutOption = OUT,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    compute: ComputeOption = None,
    offline: OfflineOption = False,
    preset: PresetOption = None,
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set", help="Change a setting: budget.updates=10, tuner.k=2, method.strength=0.1; repeatable."
        ),
    ] = None,
    label: Annotated[Optional[str], typer.Option(help="A name for changed settings.")] = None,  # noqa: UP045
    tracker: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Log to tensorboard (files in the run's folder) or wandb as well."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tune a model on a sequence of rewards. The same command again goes on, or finds it done.

    On several GPUs: accelerate launch -m ril_bench run ...; the batch is shared, the update is the same.
    """
    import ril_bench
    from ril_bench.machine.parallel import team

    made = ril_bench.run(
        sequence, method=method, seed=seed, tuner=tuner, order=order, out=out, device=named_device(device),
        threads=threads, compute=compute or (), settings=settings or (), label=label, preset=preset,
        tracker=tracker, quiet=as_json,
    )  # fmt: skip
    if not team().main:
        return
    if as_json:
        print(json.dumps({"folder": str(made.path), "metrics": made.metrics, "cost": made.info["cost"]}))
        return
    show_run(made)
    out_console.print(f"page: {made.page}", soft_wrap=True)


class Engine(StrEnum):
    """Where a grid's runs are made."""

    local = "local"
    ray = "ray"


@app.command()
def grid(
    file: Annotated[Optional[Path], typer.Argument(help="A YAML file with the axes below.")] = None,  # noqa: UP045
    sequences: Annotated[Optional[list[str]], typer.Option("--sequence", help="Repeatable, as are all axes.")] = None,  # noqa: UP045
    methods: Annotated[Optional[list[str]], typer.Option("--method", "-m", help="A method.")] = None,  # noqa: UP045
    tuners: Annotated[Optional[list[str]], typer.Option("--tuner", help="A tuner; the sequence's unless told.")] = None,  # noqa: UP045
    orders: Annotated[Optional[list[str]], typer.Option("--order", help="given, reversed, 2-3-1, latin.")] = None,  # noqa: UP045
    seeds: Annotated[Optional[list[int]], typer.Option("--seed", min=0, help="A seed.")] = None,  # noqa: UP045
    settings: Annotated[Optional[list[str]], typer.Option("--set", help="A changed setting, in every run.")] = None,  # noqa: UP045
    shard: Annotated[Optional[str], typer.Option(help="Only part i of n: i/n, for array jobs.")] = None,  # noqa: UP045
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs side by side; cores / threads unless told.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of each run, pinned: results hold at equal threads.")] = 1,
    engine: Annotated[Engine, typer.Option(help="Processes of this machine, or a Ray cluster.")] = Engine.local,
    gpus: Annotated[float | None, typer.Option(min=0, help="Of each run, on Ray: 0.5 is half of one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, and stop.")] = False,
    out: OutOption = OUT,
    device: DeviceOption = "auto",
    compute: ComputeOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Methods x tuners x sequences x orders x seeds, side by side; what is done is never done again.

    A run that fails is recorded with its class and stops no other; the same command tries it again.
    """
    import ril_bench
    from ril_bench.config.settings import parse_settings
    from ril_bench.machine.compute import compute_of
    from ril_bench.running.progress import Reporter
    from ril_bench.studies.grid.axes import axes

    given = {"sequences": sequences, "methods": methods, "tuners": tuners, "orders": orders, "seeds": seeds}
    outcomes = ril_bench.grid(
        axes(file, {key: value for key, value in given.items() if value}, parse_settings(settings or ())),
        out=out, shard=shard, jobs=jobs, threads=threads, device=device, engine=engine.value,
        gpus=gpus, compute=compute_of(compute) if compute else None, dry_run=dry_run,
        reporter=Reporter(quiet=as_json),
    )  # fmt: skip
    failed = [outcome for outcome in outcomes if outcome.failure]
    if as_json:
        print(json.dumps([outcome.plain() for outcome in outcomes], indent=2))
    elif not dry_run:
        out_console.print(f"{len(outcomes) - len(failed)} complete, {len(failed)} failed")
        out_console.print(f"next: ril-bench report {out} --out site", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def calibrate(
    sequence: Annotated[str, typer.Argument(help="A sequence that ships, or a path to a YAML file.")],
    seeds: Annotated[int, typer.Option(help="Single-task runs for each reward, at least 3.")] = 3,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs side by side; as many as cores unless told.")
    ] = None,
    out: OutOption = OUT / "calibration",
    device: DeviceOption = "auto",
    compute: ComputeOption = None,
    offline: OfflineOption = False,
) -> None:
    """Measure what each reward's unit is worth in a sequence, for normalised figures."""
    import ril_bench
    from ril_bench.machine.compute import compute_of

    file = ril_bench.calibrate(
        sequence, out=out, seeds=seeds, jobs=jobs, device=named_device(device),
        compute=compute_of(compute) if compute else None,
    )  # fmt: skip
    entries = json.loads(file.read_text())["rewards"]
    table = Table("reward", "unit", "pretrained", "tuned alone", "SE", "SD over prompts")
    for name, entry in entries.items():
        tuned = ["-", "-"] if entry["u"] is None else [f"{entry['u']:.4g}", f"{entry['se']:.2g}"]
        table.add_row(name, entry["unit"], f"{entry['b']:.4g}", *tuned, f"{entry['sigma']:.3g}")
    out_console.print(table)
    out_console.print(f"wrote {file}", soft_wrap=True)
