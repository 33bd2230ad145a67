"""Run folders, found below the folders that a user names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.storage.names import RUN


def find_runs(places: Iterable[str | Path]) -> list[Path]:
    """The run folders (those that hold run.json) at or anywhere below each place, sorted within it.

    Hidden folders are not searched. Runs of a tuning or a calibration are left out: they are no results. A folder that
    is found twice counts once.

    Raises UserError where a place holds no run.
    """
    found: dict[Path, Path] = {}
    for place in map(Path, places):
        below = list(_below(place))
        if not below:
            raise UserError(
                "there is no run here: no folder at or below it has the run.json of a result",
                where=str(place),
                hint="name the folder of a run, or one that holds runs",
            )
        for folder in below:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _below(place: Path) -> Iterable[Path]:
    for folder, folders, files in os.walk(place):
        if RUN in files:
            folders.clear()  # a run's inside holds no run
            if _purpose(Path(folder)) == "result":
                yield Path(folder)
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=_natural)


def _purpose(folder: Path) -> str:
    """What a run is for, as run.json states it. A run.json that cannot be read is left to the reports' reader."""
    try:
        return str(json.loads((folder / RUN).read_bytes()).get("purpose", "result"))
    except (OSError, ValueError, AttributeError):
        return "result"


def _natural(name: str) -> tuple[str, int, str]:
    """seed-2 before seed-10."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or -1), name
