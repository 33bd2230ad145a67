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
    found: dict[str, str] = {}
    writing = info.get(WRITING) or {}
    for name, digest in (info.get(FILES) or {}).items():
        if state := _damage(folder / name, {digest, writing.get(name)}):
            found[name] = state
    if FILES in info and (folder / names.METRICS).is_file():
        try:
            _, sealed = unsealed((folder / names.METRICS).read_bytes())
        except (OSError, ValueError):
            sealed = False
        if not sealed:
            found[names.METRICS] = "has changed"
    return found


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
    if not damaged:
        return
    count = "a file of this run is" if len(damaged) == 1 else f"{len(damaged)} files of this run are"
    listed = ", ".join(f"{name} {state}" for name, state in list(damaged.items())[:3])
    more = f", and {len(damaged) - 3} more" if len(damaged) > 3 else ""
    raise UserError(
        f"{count} damaged: {listed}{more}",
        where=str(folder),
        hint="restore it, or compute it again: the command of the run (ril-bench run ...) with --repair",
    )
