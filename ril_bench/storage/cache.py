"""The cache: results that many runs share, stored outside of the folders of runs.

The key of a result holds everything that the result depends on. Digests of the files are stored beside them: a
damaged result is computed again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from ril_bench.errors import UserError
from ril_bench.storage.digests import canonical_json, sha256_json
from ril_bench.storage.files import expanded, write_files
from ril_bench.storage.locks import LocksRefusedError, acquired
from ril_bench.storage.names import DIGESTS

CACHE = "RIL_BENCH_CACHE"
APPLICATION = "ril-bench"

Files = dict[str, bytes]


def cache_folder() -> Path:
    """The folder $RIL_BENCH_CACHE, or else ril-bench in the user's cache folder.

    On Linux the user's cache folder is $XDG_CACHE_HOME, or else ~/.cache. Raises UserError where the user has
    no home folder.
    """
    if chosen := os.environ.get(CACHE):
        return expanded(chosen)
    try:
        folder = Path(platformdirs.user_cache_dir(APPLICATION))
    except (RuntimeError, KeyError, OSError) as error:
        raise _homeless(error) from error
    if not folder.is_absolute():  # older versions of platformdirs do not expand "~"
        raise _homeless(folder)
    return folder


def _homeless(why: object) -> UserError:
    return UserError(
        f"there is no place for the cache: this user has no home folder ({why})",
        where="environment",
        hint=f"set {CACHE} to a folder that you may write to",
    )


def read(kind: str, key: Mapping[str, Any]) -> Files | None:
    """The files stored for `key`, as {relative name: bytes}; None if there are none that can be read whole."""
    folder = _folder(kind, key)
    try:
        if not folder.is_dir():
            return None
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    except OSError:  # another user's files, or another process deletes them
        return None
    if files.pop(DIGESTS, None) != _digests(files):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return files


def write(kind: str, key: Mapping[str, Any], files: Files) -> None:
    """Stores files for `key`, all of them or none. Files that are stored already stay.

    A failed write is not an error: the next run computes the files again.
    """
    folder = _folder(kind, key)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        stored = {**files, DIGESTS: _digests(files)}
        write_files({temporary / name: data for name, data in stored.items()})
        os.replace(temporary, folder)
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)


def cached(kind: str, key: Mapping[str, Any], compute: Callable[[], Files]) -> Files:
    """The files stored for `key`. If there are none, computes and stores them.

    If two processes ask at the same time, the second process waits for the first. The wait also ends when the
    first process is killed, because the kernel releases its lock.
    """
    if (found := read(kind, key)) is not None:
        return found
    with _turn(_folder(kind, key)):
        if (found := read(kind, key)) is not None:
            return found
        files = compute()
        write(kind, key, files)
        return files


def _digests(files: Files) -> bytes:
    return canonical_json({name: hashlib.sha256(data).hexdigest() for name, data in files.items()}).encode()


def _folder(kind: str, key: Mapping[str, Any]) -> Path:
    return cache_folder() / kind / sha256_json(key)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Waits until no other process computes the files of a folder.

    If the cache cannot be locked, no process waits, and two processes may compute the same files.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = acquired(folder.with_name(f".{folder.name}.lock"), wait=True)
    except (OSError, LocksRefusedError):
        yield
        return
    try:
        yield
    finally:
        lock.release()
