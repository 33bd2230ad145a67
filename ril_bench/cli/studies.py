"""The verbs that conclude something from many runs: tune, calibrate and reproduce."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ril_bench.api.common import OUT, THREADS
from ril_bench.cli.common import (
    HOW,
    SHOWN,
    ComputeOption,
    DeviceOption,
    JobsOption,
    JsonOption,
    OfflineOption,
    OutOption,
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
from ril_bench.errors import UserError

if TYPE_CHECKING:
    from ril_bench.sequences.calibrations import Calibration
    from ril_bench.studies.claims.verdict import ComparisonVerdict

ToOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        help="The file to write. Default: beside the file of the method or sequence, or in the current folder if that "
        "file ships with RIL-Bench.",
        rich_help_panel=HOW,
    ),
]
InPlaceOption = Annotated[
    bool,
    typer.Option(
        "--in-place", help="Rewrite the file that ships with RIL-Bench, for maintainers.", rich_help_panel=HOW
    ),
]


@app.command(epilog="For example: ril-bench tune ewc shapes-ril")
def tune(
    method: Annotated[
        str,
        typer.Argument(
            help="The name of a method, or the path of a .py file.", autocompletion=names_of("method")
        ),
    ],
    sequence: SequenceArgument,
    keep: Annotated[
        float, typer.Option(min=0, max=1, help="The part of naive tuning's gain that each task must reach.")
    ] = 0.8,
    option: Annotated[str, typer.Option(help="The option that sets how strongly it protects.")] = "strength",
    values: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Candidates, from the weakest protection to the strongest, such as 1,0.5,0.2. "
            "Default: .001 to 10000 in half decades."
        ),
    ] = None,
    prompts: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="The prompts to evaluate on; the sequence's evaluation prompts are refused. "
            "Default: its training prompts."
        ),
    ] = None,
    tuner: TunerOption = None,
    settings: SettingsOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="The number of runs of each candidate.")] = 2,
    to: ToOption = None,
    in_place: InPlaceOption = False,
    jobs: JobsOption = None,
    out: OutOption = OUT / "tuning",
    device: DeviceOption = "auto",
    threads: ThreadsOption = THREADS,
    compute: ComputeOption = None,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Choose how strongly a method protects, from the first two tasks only.

    The choice is the strongest value with which both tasks still gain enough (--keep). All trials are written into
    METHOD.tuning.json.
    """
    from dataclasses import asdict

    import ril_bench

    study = ril_bench.tune(
        method, sequence, keep=keep, option=option, values=_numbers(values) if values else None, prompts=prompts,
        tuner=tuner, settings=settings or (), seeds=seeds, to=to, in_place=in_place, jobs=jobs, out=out,
        device=device, threads=threads, compute=compute or (), offline=offline,
        quiet=quiet or as_json, verbose=verbose,
    )  # fmt: skip
    if as_json:
        show_json(asdict(study) | {"file": str(study.file)})
    else:
        rows = [["naive", *(f"{study.naive[i + 1][i]:.4g}" for i in range(2)), ""]]
        for trial in study.trials:
            cells = [f"{trial.R[i + 1][i]:.4g}" for i in range(2)] if trial.R else ["not finite"] * 2
            rows.append([f"{trial.value:g}", *cells, "yes" if trial.keeps else "no"])
        show_table(
            [option, *(f"{name} after its task" for name in study.rewards), "keeps"], rows, numbers=True
        )
        say(f"wrote {study.file}")
    if study.chosen is None:
        if not as_json:
            say(f"no value keeps {keep:.0%} on both tasks: try weaker ones with --values")
        raise typer.Exit(1)
    if not as_json:
        gain = f"what {study.reference} gains"
        say(f"{option} {study.chosen:g} is the strongest value that keeps {keep:.0%} of {gain} on each task")
        if study.at_the_end:
            say("no stronger value was tried: stronger values may keep as much, try them with --values")
        chosen = [*(settings or ()), f"method.{option}={study.chosen:g}"]
        words = ["--method", method, *(("--tuner", tuner) if tuner else ())]
        words += [word for setting in chosen for word in ("--set", setting)]
        say(f"next: {command('run', sequence, *words)}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(
            f"{text!r} is not a list of numbers", where="--values", hint="--values 1,0.5,0.2"
        ) from error


@app.command(epilog="For example: ril-bench calibrate ./my-sequence.yaml")
def calibrate(
    sequence: SequenceArgument,
    seeds: Annotated[
        int, typer.Option(help="The number of runs of naive and of joint, 3 or more; single has at most 5.")
    ] = 10,
    to: ToOption = None,
    in_place: InPlaceOption = False,
    jobs: JobsOption = None,
    out: OutOption = OUT / "calibration",
    device: DeviceOption = "auto",
    threads: ThreadsOption = THREADS,
    compute: ComputeOption = None,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the unit of each reward, and whether the sequence can tell methods apart.

    It runs single, naive and joint. A sequence with properties outside their bounds still runs; its reports state what
    it cannot show. Run the same command again to continue.
    """
    import ril_bench
    from ril_bench.sequences.calibrations import Calibration

    file = ril_bench.calibrate(
        sequence, seeds=seeds, to=to, in_place=in_place, jobs=jobs, out=out, device=device, threads=threads,
        compute=compute or (), offline=offline, quiet=quiet or as_json, verbose=verbose,
    )  # fmt: skip
    content = json.loads(file.read_text(encoding="utf-8"))
    if as_json:
        show_json({"file": str(file), "content": content})
        return
    calibration = Calibration.model_validate(content)
    _show_units(calibration)
    _show_properties(calibration)
    say(f"wrote {file}")


def _show_units(calibration: Calibration) -> None:
    """Prints the scale of each reward, and why a reward has none."""
    rows = []
    for name, entry in calibration.rewards.items():
        tuned = ["-", "-"] if entry.u is None else [f"{entry.u:.4g}", f"{entry.se:.2g}"]
        rows.append([name, entry.unit, f"{entry.b:.4g}", *tuned, f"{entry.sigma:.3g}"])
    head = ["reward", "unit", "pretrained", "tuned alone", "SE over seeds", "SD over prompts"]
    show_table(head, rows, numbers=True)
    for name, entry in calibration.rewards.items():
        if entry.refused:
            say(f"{name} {entry.refused}")


def _show_properties(calibration: Calibration) -> None:
    """Prints every property with its bound, and the verdict in a sentence."""
    from ril_bench.metrics.properties import PROPERTIES

    verdicts = {True: "holds", False: "fails", None: "not measured"}
    rows = []
    for name, record in (calibration.properties or {}).items():
        known = PROPERTIES[name]
        value = "-" if record.value is None else f"{record.value:.3g}"
        rows.append(
            [
                known.words,
                value,
                known.bound_in_words,
                verdicts[record.holds] if known.bound is not None else "",
            ]
        )
    show_table(["property", "value", "bound", "verdict"], rows)
    say(calibration.limits or "every measured property is within its bound")


@app.command(epilog="For example: ril-bench reproduce rid-forgets-less --dry-run")
def reproduce(
    claim: Annotated[
        str,
        typer.Argument(
            help="The name of a claim (ril-bench list claims), or the path of a YAML file.",
            autocompletion=names_of("claim"),
        ),
    ],
    seeds: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1, help="The number of seeds; fewer than 5 decide nothing. Default: as the claim states."
        ),
    ] = None,
    to: ToOption = None,
    in_place: InPlaceOption = False,
    jobs: JobsOption = None,
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
    """Test a claim of a paper, and say whether it held, with intervals.

    It runs what the claim compares; complete runs are kept, also those of other verbs. The verdict is written into
    CLAIM.verdict.json. Run the same command again to continue, or with more --seeds to decide more.
    """
    import ril_bench

    if dry_run:
        plan = ril_bench.preview_claim(claim, seeds=seeds, jobs=jobs, out=out, device=device, threads=threads)
        show_json(plan.plain()) if as_json else say(plan)
        return
    verdict = ril_bench.reproduce(
        claim, seeds=seeds, to=to, in_place=in_place, jobs=jobs, out=out, device=device, threads=threads,
        compute=compute or (), offline=offline, quiet=quiet or as_json, verbose=verbose,
    )  # fmt: skip
    if as_json:
        show_json({"file": str(verdict.file), "content": verdict.model_dump(mode="json")})
        return
    head = ["sequence", "compared", "mean, 95% interval", "claimed", "verdict"]
    show_table(head, map(_comparison_cells, verdict.comparisons))
    n = len(verdict.seeds)
    say(f"{verdict.claim}: {verdict.verdict}, n = {n} seed{'s' * (n > 1)}", style="bold")
    if verdict.advice:
        say(verdict.advice)
    say(f"wrote {verdict.file}")


def _comparison_cells(one: ComparisonVerdict) -> list[str]:
    """The cells of a comparison."""
    claimed = f"{one.expected} than {one.margin:g}"
    return [one.sequence, one.what, one.measured, claimed, one.verdict]
