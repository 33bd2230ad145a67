"""Whether the files of a run are those that it wrote.

run.json has the digests of all files of finished steps, and metrics.json and run.json each carry their own. Runs
of earlier versions have no digests, and pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ril_bench.errors import UserError
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.seals import unsealed

#: keys of run.json: {file: SHA-256} of what is finished; the same of tables that are being written
FILES, WRITING = "files", "files_being_written"


def damaged_files(folder: Path, info: Mapping[str, Any]) -> dict[str, str]:
    """The files of finished steps that are damaged: {file: "is missing" or "has changed"}.

    Args:
        info: run.json of the folder.
    """
    found = {name: state for name in info.get(FILES) or {} if (state := damage_of(folder, info, name))}
    if FILES in info and (state := _damage_of_metrics(folder / names.METRICS, info)):
        found[names.METRICS] = state
    return found


def _damage_of_metrics(path: Path, info: Mapping[str, Any]) -> str | None:
    """What is wrong with metrics.json, which has its digest in itself; a complete run has it."""
    try:
        return None if unsealed(path.read_bytes())[1] else "has changed"
    except FileNotFoundError:
        return "is missing" if info.get("status") == "complete" else None
    except (OSError, ValueError):
        return "has changed"


def damage_of(folder: Path, info: Mapping[str, Any], name: str) -> str | None:
    """What is wrong with a file of a finished step; None where nothing is, or run.json has no digest of it."""
    if (digest := (info.get(FILES) or {}).get(name)) is None:
        return None
    return _damage(folder / name, {digest, (info.get(WRITING) or {}).get(name)})


def _damage(path: Path, digests: set[str | None]) -> str | None:
    try:
        return None if sha256_file(path) in digests else "has changed"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def refuse_damage(folder: Path, info: Mapping[str, Any], *, but: str | None = None) -> None:
    """Raises UserError where a file of a finished step is damaged, and names it.

    Args:
        but: a file that the caller computes again.
    """
    damaged = {name: state for name, state in damaged_files(folder, info).items() if name != but}
    if damaged:
        raise damage_error(folder, damaged)


def damage_error(folder: Path, damaged: Mapping[str, str]) -> UserError:
    """The error for damaged files: {file: what is wrong}."""
    count = "a file of this run is" if len(damaged) == 1 else f"{len(damaged)} files of this run are"
    listed = ", ".join(f"{name} {state}" for name, state in list(damaged.items())[:3])
    more = f", and {len(damaged) - 3} more" if len(damaged) > 3 else ""
    return UserError(
        f"{count} damaged: {listed}{more}",
        where=str(folder),
        hint="restore it, or compute it again: the command of the run (ril-bench run ...) with --repair",
    )
