"""The file to which a study writes its result.

It is never in an installed package, and it is checked before anything is computed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ril_bench import registry
from ril_bench.errors import UserError


def output_file(kind: str, reference: str, name: str, *, to: Path | None, in_place: bool) -> Path:
    """The file to which a study of a sequence or a method writes its result.

    `to` (a file, or a folder that exists) comes first. Otherwise, if `reference` is a path, the file is
    beside the user's own file. Otherwise, for a name, it is in the current folder. With `in_place`, for
    maintainers, it is the file beside the sequence or the method that ships.

    Args:
        kind: "sequence" or "method".
        name: the name of the file: NAME.calibration.json or NAME.tuning.json.

    Raises:
        UserError: the place cannot be written, or `in_place` is used for a method that is not a file.
    """
    place = registry.locate(kind, reference)
    if to is not None:
        file = to / name if to.is_dir() else to
    elif registry.is_path(reference) or in_place:
        if not isinstance(place, Path):
            raise UserError(
                f"{reference} is not a file: it comes from an installed package",
                where="--in-place",
                hint=f"leave --in-place out; then the result is written to ./{name}",
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
        tempfile.TemporaryFile(dir=folder).close()  # permissions do not show that a disk is read-only
    except OSError as error:
        raise UserError(
            f"cannot write {file.name}: {error.strerror or error}",
            where=str(folder),
            hint="name another place with --to",
        ) from error
