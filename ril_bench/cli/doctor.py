"""The verb doctor: whether this machine can run a sequence."""

from __future__ import annotations

import json
from typing import Annotated, Optional

import typer
from rich.text import Text

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
    """Whether this machine can run a sequence: its files, memory and time, with a hint for each fault.

    Downloads nothing and loads no weights. The exit code is 1 where a run would not complete.
    """
    import ril_bench

    found = ril_bench.doctor(
        sequence, device=device, compute=compute or (), settings=settings or (), preset=preset, out=out
    )
    if as_json:
        print(json.dumps(found.plain(), indent=2))
    else:
        text = Text(str(found))
        for pattern, style in (
            ("^fault:", "red"),
            ("^not ready$", "red"),
            ("^ready", "green"),
            ("^  missing", "yellow"),
        ):
            text.highlight_regex(f"(?m){pattern}", style)
        out_console.print(text, soft_wrap=True)
    if not found.ready:
        raise typer.Exit(1)
