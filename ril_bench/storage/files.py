"""Atomic writes and JSON.

Every file is written under a temporary name in its folder, synced, and renamed. So a reader sees a whole file
or no file, also after a run is killed.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

from ril_bench.config.characters import encodable
from ril_bench.errors import InfrastructureError, NumericalError, RilError, UserError
from ril_bench.storage.names import temporary

_CHOOSE = "choose a place that you may write to"
_IN_THE_WAY = (
    "a file is where a folder belongs, or a folder where a file belongs: move it, or choose another --out"
)
#: errors for which the user can do something, and what
_HINTS = {
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EINVAL, errno.ELOOP), _CHOOSE
    ),
    errno.ENAMETOOLONG: "choose a shorter name, with --out or --label",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY), _IN_THE_WAY),
}


def write_files(files: Mapping[Path, bytes]) -> None:
    """Writes each file whole or not at all, and creates missing folders.

    Syncs each folder once for all its files.

    Raises:
        UserError: the folder cannot be written.
        InfrastructureError: the disk is full or has failed.
    """
    for path, data in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, data)
        except OSError as error:
            raise write_error(path, error) from error
    for folder in {path.parent for path in files}:
        try:
            _sync_folder(folder)
        except OSError as error:
            raise write_error(folder, error) from error


def _replace(path: Path, data: bytes) -> None:
    unfinished = path.with_name(temporary(path.name, os.getpid()))
    try:
        with open(unfinished, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_error(path: Path, error: OSError) -> RilError:
    """The error to raise for a file that cannot be written: UserError or InfrastructureError."""
    what = f"cannot write {path.name}: {error.strerror or error}"
    if hint := _HINTS.get(error.errno or 0):
        return UserError(what, where=str(path), hint=hint)
    return InfrastructureError(
        what, where=str(path), hint="make room on the disk, then give the same command again: it continues"
    )


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON for people and tools, with a final newline.

    Scalars and arrays of numpy are written as plain values. NaN becomes null, because JSON has no NaN. Half of
    a surrogate pair becomes a question mark, because no file can hold it. Raises NumericalError for an infinity.
    """
    try:
        return encodable(json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)) + "\n"
    except ValueError as error:
        raise NumericalError(f"cannot be written as JSON: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy, without importing it
        return _plain(value.tolist())
    return None if isinstance(value, float) and math.isnan(value) else value


@overload
def expanded(path: str | Path) -> Path: ...
@overload
def expanded(path: None) -> None: ...
def expanded(path: str | Path | None) -> Path | None:
    """A path as a user writes it, with the home folder for "~" and "~someone"; None stays None.

    The functions of `ril_bench.api` expand the paths that they get, and all others get whole paths. What may be a name
    instead, such as a method, is expanded where names are looked up.

    The file "~name" in the current folder is "./~name". Raises UserError where there is no such user, or the user has
    no home folder.
    """
    if path is None:
        return None
    try:
        return Path(path).expanduser() if os.fspath(path).startswith("~") else Path(path)
    except RuntimeError as error:
        raise UserError(f"{error} {path}", where=str(path), hint="write the whole path") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises UserError if the file is missing or is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"no {path.name} here", where=str(path), hint="name the folder of a run") from error
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {path.name}: {error}", where=str(path)) from error
