"""The verbs for authors: check, tune and new."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape
from rich.table import Table

from ril_bench import registry
from ril_bench.cli.common import OUT, DeviceOption, JsonOption, OutOption, app, out_console
from ril_bench.machine.devices import named_device


@app.command()
def check(
    target: Annotated[
        str, typer.Argument(help="A sequence or a method, by name or path; or a folder of entries.")
    ],
    resample: Annotated[
        int, typer.Option(min=0, help="Entries: make so many images of each again, and score them.")
    ] = 0,
    record: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Entries: a file to note what was made again, for the page."),
    ] = None,
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Entries: a git revision; refuse what was changed since, check what was added."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a sequence (keys, names, weights, ...), a method (by running it), or entries (without trusting them)."""
    if Path(target).is_dir():
        _check_entries(Path(target), resample, record, since, as_json)
    elif (registry.is_path(target) and target.endswith(".py")) or target in registry.names("method"):
        _check_method(target, as_json)
    else:
        _check_sequence(target)


def _check_sequence(reference: str) -> None:
    import torch

    from ril_bench.running.materials import Materials
    from ril_bench.sequences.calibrations import load_calibration
    from ril_bench.sequences.sequence_file import load_sequence

    spec = load_sequence(reference)
    materials = Materials.load(spec, torch.device("cpu"))
    materials.check_tuners()
    calibration = load_calibration(spec)
    lacking = [name for name in spec.order if calibration is None or name not in calibration.rewards]
    out_console.print(f"{spec.name} version {spec.version}: {' -> '.join(spec.order)}")
    out_console.print(
        f"  {len(materials.weights)} weight files; {len(materials.eval_prompts)} evaluation prompts"
    )
    state = f"no calibration for {', '.join(lacking)}: figures will be z" if lacking else "calibrated"
    out_console.print(f"  {state}\n[green]ok[/green]")


def _check_entries(
    target: Path, resample: int, record: Path | None, since: str | None, as_json: bool
) -> None:
    from ril_bench.leaderboard.check import check as checked
    from ril_bench.leaderboard.checked import note

    verdicts = []
    for verdict in checked(target, resample=resample, since=since):
        verdicts.append(verdict)
        if as_json:
            continue
        mark = "[green]ok[/green]     " if verdict.stands else "[red]refused[/red]"
        out_console.print(mark, escape(_printable(verdict.place)), highlight=False, soft_wrap=True)
        for said in (*verdict.findings, *filter(None, [verdict.resampled])):
            for line in str(said).splitlines():
                out_console.print(
                    f"        {_printable(line)}", markup=False, highlight=False, soft_wrap=True
                )
    if record is not None:
        note(record, verdicts)
    refused = sum(not verdict.stands for verdict in verdicts)
    if as_json:
        print(json.dumps([verdict.plain() for verdict in verdicts], indent=2))
    else:
        out_console.print(f"{refused} of {len(verdicts)} refused" if refused else "all stand")
    if refused:
        raise typer.Exit(2)


def _printable(line: str) -> str:
    """Words of a stranger, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in line)


def _check_method(reference: str, as_json: bool) -> None:
    from dataclasses import asdict

    from ril_bench.conformance.method import check_method

    findings = []
    for finding in check_method(reference):
        findings.append(finding)
        if not as_json:
            mark = "[red]fault[/red]" if finding.fault else "[green]ok[/green]   "
            out_console.print(mark, finding.check, highlight=False, soft_wrap=True)
        if finding.fault and not as_json:
            out_console.print(f"      {finding.fault}", markup=False, highlight=False, soft_wrap=True)
            if finding.hint:
                out_console.print(
                    f"      hint: {finding.hint}", markup=False, highlight=False, soft_wrap=True
                )
    faults = sum(bool(finding.fault) for finding in findings)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        out_console.print(
            f"{reference}: {f'{faults} of {len(findings)} checks failed' if faults else 'conforms'}"
        )
    if faults:
        raise typer.Exit(2)


@app.command()
def tune(
    method: Annotated[str, typer.Argument(help="A method that ships, or a path to a .py file.")],
    sequence: Annotated[str, typer.Argument(help="A sequence that ships, or a path to a YAML file.")],
    keep: Annotated[
        float, typer.Option(min=0, max=1, help="Of what naive tuning gains, on each task.")
    ] = 0.8,
    option: Annotated[str, typer.Option(help="The option that protects.")] = "strength",
    values: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Candidates, from the weakest protection to the strongest: 1,0.5,0.2."),
    ] = None,
    prompts: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="To judge by; the training prompts unless told. Never those that are reported."),
    ] = None,
    tuner: Annotated[Optional[str], typer.Option(help="Another tuner than the sequence's.")] = None,  # noqa: UP045
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", help="A fixed change, as method.space=noise; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each candidate.")] = 2,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs side by side; the cores unless told.")] = None,
    out: OutOption = OUT / "tuning",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Choose how strongly a method protects, on the first two tasks alone.

    The strongest value that still learns what it should; the trials are written beside the method's file.
    """
    from dataclasses import asdict

    import ril_bench
    from ril_bench.running.progress import Reporter
    from ril_bench.studies.tuning import STRENGTHS

    study = ril_bench.tune(
        method, sequence, keep=keep, option=option, values=_numbers(values) if values else STRENGTHS,
        prompts=prompts, tuner=tuner, settings=settings or (), seeds=seeds, out=out, jobs=jobs,
        device=named_device(device), reporter=Reporter(quiet=as_json),
    )  # fmt: skip
    if as_json:
        print(json.dumps(asdict(study) | {"file": str(study.file)}, indent=2))
        return
    table = Table(option, *(f"{name} after its task" for name in study.rewards), "keeps")
    table.add_row("naive", *(f"{study.naive[i + 1][i]:.4g}" for i in range(2)), "")
    for trial in study.trials:
        cells = [f"{trial.R[i + 1][i]:.4g}" for i in range(2)] if trial.R else ["not finite"] * 2
        table.add_row(f"{trial.value:g}", *cells, "yes" if trial.keeps else "no")
    out_console.print(table)
    out_console.print(f"wrote {study.file}", soft_wrap=True)
    if study.chosen is None:
        out_console.print(f"no value keeps {keep:.0%} on both tasks: give weaker ones with --values")
        raise typer.Exit(1)
    whose = f"what {study.reference} gains"
    out_console.print(
        f"{option} {study.chosen:g} is the strongest that keeps {keep:.0%} of {whose} on each task"
    )
    if study.at_the_end:
        out_console.print(
            "it is the strongest that was tried: stronger ones, with --values, may keep as much"
        )


def _numbers(text: str) -> list[float]:
    from ril_bench.errors import UserError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(
            f"{text!r} is no list of numbers", where="--values", hint="write 1,0.5,0.2"
        ) from error


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="method")],
    name: Annotated[str, typer.Argument(help="Its name, and its file's: my_method.")],
) -> None:
    """Write a working file to start from."""
    from ril_bench.conformance.scaffold import new_method
    from ril_bench.errors import UserError

    if kind != "method":
        raise UserError(f"there is nothing to start a {kind!r} from", hint="ril-bench new method NAME")
    file = new_method(name)
    out_console.print(f"{file}\nnext: ril-bench check ./{file}", soft_wrap=True)
