"""The verbs that train: demo, run and grid."""

from __future__ import annotations

from enum import StrEnum
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ril_bench.api.common import DEMO_METHODS, DEMO_SEQUENCE, OUT, THREADS
from ril_bench.cli.common import (
    HOW,
    SHOWN,
    WHAT,
    ComputeOption,
    DeviceOption,
    JobsOption,
    JsonOption,
    MethodOption,
    OfflineOption,
    OutOption,
    PresetOption,
    QuietOption,
    SequenceArgument,
    SettingsOption,
    ThreadsOption,
    TunerOption,
    VerboseOption,
    app,
    command,
    names_of,
)
from ril_bench.cli.console import say, show_json, show_table
from ril_bench.config.seeds import parse_seeds
from ril_bench.storage.files import expanded

if TYPE_CHECKING:
    from ril_bench.api.notebook import Run

NUMBERS = """What the numbers mean: FINAL is the mean of the rewards at the end, on a scale where 0 is the pretrained
model and 1 is a model tuned on that reward alone. FORGET is how far earlier rewards fell from their best: lower is
better. SSIM is how similar the images are to those of the pretrained model: 1 is equal."""


@app.command(epilog="For example: ril-bench demo")
def demo(
    sequence: Annotated[
        str,
        typer.Option(help="The sequence to run.", autocompletion=names_of("sequence"), rich_help_panel=WHAT),
    ] = DEMO_SEQUENCE,
    methods: Annotated[
        list[str],
        typer.Option(
            "--method",
            "-m",
            help="A method to compare. Repeatable.",
            autocompletion=names_of("method"),
            rich_help_panel=WHAT,
        ),
    ] = list(DEMO_METHODS),  # noqa: B006
    jobs: JobsOption = None,
    out: OutOption = OUT / "demo",
    device: DeviceOption = "auto",
    threads: ThreadsOption = THREADS,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run a sequence of two tasks with three methods, and write a page that compares them.

    This is the first command to try.
    """
    import ril_bench

    found = ril_bench.demo(
        sequence=sequence, methods=methods, jobs=jobs, out=out, device=device, threads=threads,
        quiet=quiet, verbose=verbose,
    )  # fmt: skip
    metrics = ("FINAL", "LEARN", "FORGET", "SSIM to step 0")
    rows = [[each.stored.name, *(f"{each.summary[metric]:.2f}" for metric in metrics)] for each in found]
    say()
    show_table(["method", *metrics], rows, title=f"{sequence}, seed 0", numbers=True)
    say(" ".join(NUMBERS.split()))
    if verdict := _against_naive(found):
        say(verdict)
    say(f"\nOpen {(expanded(out) / 'index.html').absolute().as_uri()} in a browser.\n")
    say("What to type next:")
    for words, why in (
        (("report", out, "--out", "site"), "all tables and plots, and a page for each run"),
        (("run", sequence, "--method", "ema", "--out", out), "another method"),
        (("list", "method"), "all methods"),
    ):
        say(f"  {command(*words)}    # {why}")


def _against_naive(found: list[Run]) -> str:
    """What became of each method beside naive tuning, and which images collapsed; empty without the method naive."""
    others = {each.stored.name: each.summary for each in found}
    naive = others.pop("naive", None)
    if naive is None or not others:
        return ""
    words = [
        f"{name} ended {'above' if one['FINAL'] > naive['FINAL'] else 'no higher than'} naive"
        + (
            ""
            if isnan(one["FORGET"])
            else f", and forgot {'less' if one['FORGET'] < naive['FORGET'] else 'no less'}"
        )
        for name, one in others.items()
    ]
    collapsed = [each.stored.name for each in found if each.collapsed]
    warning = (
        f" In {', '.join(collapsed)} a step collapsed: its images follow their prompts less, or are more alike."
        if collapsed
        else ""
    )
    return (
        f"In this run {'; '.join(words)}.{warning} One seed shows a difference, but cannot prove it: ril-bench "
        "compare needs five."
    )


@app.command(epilog="For example: ril-bench run shapes-ril --method rid")
def run(
    sequence: SequenceArgument,
    method: MethodOption,
    tuner: TunerOption = None,
    order: Annotated[
        str,
        typer.Option(
            help="The order of the tasks: given, reversed, or their numbers, as 2-3-1.", rich_help_panel=WHAT
        ),
    ] = "given",
    seed: Annotated[
        str,
        typer.Option(
            help="Decides every random number of the training. 0-4 runs five seeds, one after another; "
            "ril-bench grid runs them side by side.",
            rich_help_panel=WHAT,
        ),
    ] = "0",
    preset: PresetOption = None,
    settings: SettingsOption = None,
    label: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="A name for changed settings. Default: derived from the settings.", rich_help_panel=WHAT
        ),
    ] = None,
    out: OutOption = OUT,
    device: DeviceOption = "auto",
    threads: ThreadsOption = THREADS,
    compute: ComputeOption = None,
    offline: OfflineOption = False,
    tracker: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Also log to tensorboard (files in the run's folder) or to wandb. Default: neither.",
            rich_help_panel=HOW,
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Compute files of this run that are damaged again. Default: a damaged file is an error.",
            rich_help_panel=HOW,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the resolved settings, the folder, the cost and what is missing, and stop.",
            rich_help_panel=SHOWN,
        ),
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model on a sequence of rewards, one after another, and evaluate it after each.

    Run the same command again to continue an interrupted run; a complete run is not repeated. On several GPUs:
    accelerate launch -m ril_bench run ...; the processes share each batch, and the update stays the same.
    """
    import ril_bench

    what: dict[str, Any] = {
        "method": method, "tuner": tuner, "order": order, "preset": preset, "settings": settings or (),
        "label": label, "out": out, "device": device, "compute": compute or (), "offline": offline,
    }  # fmt: skip
    seeds = parse_seeds([seed])
    if dry_run:
        previews = [ril_bench.preview(sequence, **what, seed=each) for each in seeds]
        if as_json:
            _show_json_of([preview.plain() for preview in previews])
        else:
            for preview in previews:
                say(preview)
        return
    found = []
    for each in seeds:
        result = ril_bench.run(
            sequence,
            **what,
            seed=each,
            threads=threads,
            tracker=tracker,
            repair=repair,
            quiet=quiet or as_json,
            verbose=verbose,
        )
        if not _is_main_process():
            continue
        found.append(result)
        if not as_json:
            show_run(result)
            say(f"page: {result.page}")
    if as_json and found:
        _show_json_of(
            [{"folder": str(each.path), "metrics": each.metrics, "cost": each.info["cost"]} for each in found]
        )


def _show_json_of(objects: list[dict[str, Any]]) -> None:
    """Prints one object for one seed, and a list for several."""
    show_json(objects[0] if len(objects) == 1 else objects)


def _is_main_process() -> bool:
    from ril_bench.machine.parallel import team

    return bool(team().main)


class Engine(StrEnum):
    """What runs the cells of a grid."""

    local = "local"
    ray = "ray"


#: The axes of a grid.
SequencesOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--sequence",
        help="A sequence. Repeatable, as all axes are.",
        autocompletion=names_of("sequence"),
        rich_help_panel=WHAT,
    ),
]
MethodsOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--method",
        "-m",
        help="A method.",
        autocompletion=names_of("method"),
        rich_help_panel=WHAT,
    ),
]
TunersOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--tuner",
        help="A tuner. Default: the tuner of each sequence.",
        autocompletion=names_of("tuner"),
        rich_help_panel=WHAT,
    ),
]
OrdersOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--order",
        help="given, reversed, 2-3-1, or latin for all cyclic shifts. Default: given.",
        rich_help_panel=WHAT,
    ),
]
SeedsOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--seed",
        help="A seed, or several: 0-4, or 0,2,5. Default: 0.",
        rich_help_panel=WHAT,
    ),
]


@app.command(epilog="For example: ril-bench grid --sequence shapes-ril -m naive -m rid --seed 0-4 --dry-run")
def grid(
    file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(help="A YAML file with the axes. Default: only the options."),
    ] = None,
    sequences: SequencesOption = None,
    methods: MethodsOption = None,
    tuners: TunersOption = None,
    orders: OrdersOption = None,
    seeds: SeedsOption = None,
    settings: SettingsOption = None,
    shard: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only part i of n, as i/n, for array jobs. Default: all.", rich_help_panel=HOW),
    ] = None,
    jobs: JobsOption = None,
    engine: Annotated[
        Engine, typer.Option(help="Processes of this machine, or a Ray cluster.", rich_help_panel=HOW)
    ] = Engine.local,
    gpus: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            min=0,
            help="GPUs for each run on Ray; 0.5 is half a GPU. Default: one if the device is a GPU.",
            rich_help_panel=HOW,
        ),
    ] = None,
    out: OutOption = OUT,
    device: DeviceOption = "auto",
    threads: ThreadsOption = THREADS,
    compute: ComputeOption = None,
    offline: OfflineOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its cost, and stop.", rich_help_panel=SHOWN)
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run every combination of methods, tuners, sequences, orders and seeds, side by side.

    Complete runs are kept. A failed run is recorded and does not stop the others; the same command repeats it.
    """
    import ril_bench

    axes: dict[str, Any] = {
        "sequences": sequences or (), "methods": methods or (), "tuners": tuners or (), "orders": orders or (),
        "seeds": parse_seeds(seeds or ()), "settings": settings or (),
    }  # fmt: skip
    how: dict[str, Any] = {
        "shard": shard, "jobs": jobs, "engine": engine.value, "gpus": gpus, "out": out, "device": device,
        "threads": threads,
    }  # fmt: skip
    if dry_run:
        plan = ril_bench.preview_grid(file, **axes, **how)
        show_json(plan.plain()) if as_json else say(plan)
        return
    outcomes = ril_bench.grid(
        file, **axes, **how, compute=compute or (), offline=offline, quiet=quiet or as_json, verbose=verbose
    )
    failed = [outcome for outcome in outcomes if outcome.failure]
    if as_json:
        show_json([outcome.plain() for outcome in outcomes])
    else:
        say(f"{len(outcomes) - len(failed)} complete, {len(failed)} failed")
        say(f"next: {command('report', out, '--out', 'site')}")
    if failed:
        raise typer.Exit(1)


def show_run(result: Run) -> None:
    """Prints the matrix and the main metrics of a run."""
    from ril_bench.reporting.collapse import reasons

    matrix, rewards = result.matrix, result.metrics["rewards"]
    fallen = result.collapsed
    names = [
        f"{name}, collapsed" if step in fallen else name for step, name in enumerate(["pretrained", *rewards])
    ]
    say(f"\n{result.path}")
    show_table(
        ["step", *matrix.columns],
        (
            [f"{step} {names[step]}", *(f"{value:.4g}" for value in row)]
            for step, row in zip(map(int, matrix.index), matrix.to_numpy(), strict=True)
        ),
        numbers=True,
    )
    if len(scales := result.scales):
        show_table(
            ["step", "scale", *scales.columns],
            (
                [f"{step}", f"{scale:g}", *(f"{value:.4g}" for value in row)]
                for (step, scale), row in zip(scales.index, scales.to_numpy(), strict=True)
            ),
            title="adapter scales",
            numbers=True,
        )
    say(result.headline)
    for sentence in reasons(result.stored):
        say(sentence)
