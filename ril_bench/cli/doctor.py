"""The verb doctor: whether this machine can run a sequence."""

from __future__ import annotations

import typer

from ril_bench.api.common import OUT
from ril_bench.cli.common import (
    ComputeOption,
    DeviceOption,
    JsonOption,
    OfflineOption,
    OutOption,
    PresetOption,
    SequenceArgument,
    SettingsOption,
    TunerOption,
    app,
)
from ril_bench.cli.console import say, show_json

#: Words at the start of a line of the diagnosis that are coloured.
_STYLES = {"fault:": "red", "not ready": "red", "ready": "green", "  missing": "yellow"}


@app.command(epilog="For example: ril-bench doctor sd15-ril")
def doctor(
    sequence: SequenceArgument,
    tuner: TunerOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    out: OutOption = OUT,
    device: DeviceOption = "auto",
    compute: ComputeOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check whether this machine can run a sequence: files, memory, time; hints for faults.

    Downloads nothing and loads no weights. The exit code is 1 if a run could not complete.
    """
    import ril_bench

    found = ril_bench.doctor(
        sequence, tuner=tuner, preset=preset, settings=settings or (), out=out, device=device,
        compute=compute or (), offline=offline,
    )  # fmt: skip
    if as_json:
        show_json(found.plain())
    else:
        for line in str(found).splitlines():
            mark = next((mark for mark in _STYLES if line.startswith(mark)), "")
            say(line.removeprefix(mark), mark=mark, style_of_mark=_STYLES.get(mark, ""))
    if not found.ready:
        raise typer.Exit(1)
