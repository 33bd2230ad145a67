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

    Hidden folders are not searched, and links to folders are followed. Runs of a tuning or a calibration are left out:
    they are no results. A folder that is found twice counts once.

    Raises UserError where a place holds no run, or where a folder below it cannot be read.
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
    seen: set[Path] = set()  # a link may lead back to a folder above it
    for folder, folders, files in os.walk(place, followlinks=True, onerror=_unreadable):
        if (real := Path(folder).resolve()) in seen:
            folders.clear()
            continue
        seen.add(real)
        if RUN in files:
            folders.clear()  # a run's inside holds no run
            if _purpose(Path(folder)) == "result":
                yield Path(folder)
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=_natural)


def _unreadable(error: OSError) -> None:
    """A folder that is passed over in silence would be missing from every mean."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return  # nothing is there, or not any more
    raise UserError(
        f"cannot be read: {error.strerror or error}",
        where=str(error.filename),
        hint="make it readable, or name the folders of the runs to use",
    ) from error


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
