"""The verb that tells whether this machine can run a sequence: doctor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.markup import escape

from ril_bench.cli.common import (
    OUT,
    ComputeOption,
    DeviceOption,
    JsonOption,
    OfflineOption,
    OutOption,
    PresetOption,
    app,
    out_console,
)
from ril_bench.machine.devices import named_device

if TYPE_CHECKING:
    from ril_bench.diagnosis.diagnose import Diagnosis


@app.command()
def doctor(
    sequence: Annotated[str, typer.Argument(help="A sequence that ships, or a path to a YAML file.")],
    compute: ComputeOption = None,
    preset: PresetOption = None,
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", help="A changed setting, as a run would have it; repeatable."),
    ] = None,
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    out: OutOption = OUT,
    as_json: JsonOption = False,
) -> None:
    """Whether this machine can run a sequence: files, memory, time, and how to fix what is missing.

    Downloads nothing and loads no weights. The exit code is 1 where a run would not come to its end.
    """
    from ril_bench.config.settings import parse_settings
    from ril_bench.diagnosis.diagnose import diagnose
    from ril_bench.machine.compute import compute_of

    found = diagnose(
        sequence,
        device=named_device(device),
        compute=compute_of(compute or ()),
        settings=parse_settings(settings or ()),
        preset=preset,
        out=out,
    )
    if as_json:
        print(json.dumps(found.plain(), indent=2))
    else:
        _show(found)
    if not found.ready:
        raise typer.Exit(1)


def _show(found: Diagnosis) -> None:
    from ril_bench.diagnosis.diagnose import size
    from ril_bench.remote.search import FOLDER
    from ril_bench.running.progress import spoken

    out_console.print(f"{found.sequence}: {' -> '.join(found.tasks)}\non {found.model}", soft_wrap=True)
    for need in found.needs:
        mark = "[green]here[/green]   " if need.here else "[yellow]missing[/yellow]"
        facts = ", ".join(filter(None, [need.used_by, size(need.size) if need.size else "", need.licence]))
        out_console.print(f"  {mark} {escape(f'{need.what} ({facts})')}", highlight=False, soft_wrap=True)
        if not need.here:
            places = [need.source, *([f"${FOLDER}/{need.local}"] if need.local else [])]
            for place in places:
                out_console.print(
                    f"          {place}", style="dim", highlight=False, markup=False, soft_wrap=True
                )
    if memory := found.memory:
        parts = ", ".join(f"{part} {size(count)}" for part, count in memory.weights.items() if count)
        out_console.print(
            f"memory on {memory.device}: about {size(memory.peak)}, {size(memory.free)} free\n"
            f"  weights: {parts}\n"
            f"  an update ({memory.task}, {memory.images} prompts at once) keeps {size(memory.kept)}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    count = f"{found.time.evaluations:,}".replace(",", " ")
    said = [f"time of a run: {count} denoiser evaluations by rollouts and images"]
    if found.time.at_least is not None and found.time.rate is not None:
        said.append(
            f"  at least {spoken(found.time.at_least)}, at {found.time.rate / 1e12:.3g} TFLOP/s measured here"
        )
    if found.time.by_runs is not None:
        said.append(f"  about {spoken(found.time.by_runs)}, by runs that were made here")
    out_console.print("\n".join(said), highlight=False, soft_wrap=True)
    for note in found.notes:
        out_console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for fault in found.faults:
        out_console.print("[red]fault[/red]", end=" ")
        out_console.print(fault, markup=False, highlight=False, soft_wrap=True)
    download = sum(need.size or 0 for need in found.needs if not need.here)
    if found.ready:
        more = f"; it will download about {size(download)}" if download else ""
        out_console.print(f"[green]ready[/green]{more}")
    else:
        out_console.print("[red]not ready[/red]")
