"""Where a study writes its result: never into an installed package, and checked before anything is computed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ril_bench import registry
from ril_bench.errors import UserError


def output_file(kind: str, reference: str, name: str, *, to: Path | None, in_place: bool) -> Path:
    """The file that a study of a sequence or a method is written to.

    `to` if it is given (a file, or a folder that exists); beside the user's own file if `reference` is a path; else,
    for a name, in the current folder. With `in_place` a name that ships is refreshed where it ships: for maintainers.

    Args:
        kind: "sequence" or "method".
        name: the file's name, NAME.calibration.json or NAME.tuning.json.

    Raises:
        UserError: the place cannot be written to, or `in_place` is asked of what is not a file.
    """
    place = registry.locate(kind, reference)
    if to is not None:
        file = to / name if to.is_dir() else to
    elif registry.is_path(reference) or in_place:
        if not isinstance(place, Path):
            raise UserError(
                f"{reference} is not a file: it comes from an installed package",
                where="--in-place",
                hint=f"leave --in-place out: the result is then written to ./{name}",
            )
        file = place.with_name(name)
    else:
        file = Path(name)
    _check_writable(file)
    return file


def _check_writable(file: Path) -> None:
    folder = file.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()  # permissions alone do not show a read-only disk
    except OSError as error:
        raise UserError(
            f"cannot write {file.name}: {error.strerror or error}",
            where=str(folder),
            hint="name another place with --to",
        ) from error
