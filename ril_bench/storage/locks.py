"""Locks: only one process at a time works in a folder.

The kernel holds the lock (flock, through filelock), and releases it when the process ends or is killed. So no
stale lock can block a resume. Some network file systems refuse flock. With RIL_BENCH_SOFT_LOCKS=1 a lock is a
plain file that is created and removed. This works on every file system, but a killed process may leave the
file.
"""

from __future__ import annotations

import errno
import inspect
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from ril_bench.errors import UserError
from ril_bench.storage import names
from ril_bench.storage.files import write_error, write_files

SOFT_LOCKS = "RIL_BENCH_SOFT_LOCKS"
#: the errors of flock on a file system that has no locks
REFUSALS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
# Newer versions of filelock silently use a soft lock instead. Only the user may choose this weaker lock.
_STRICT: dict[str, Any] = (
    {"fallback_to_soft": False} if "fallback_to_soft" in inspect.signature(FileLock).parameters else {}
)


class LocksRefusedError(UserError):
    """The file system has no file locks."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Creates a run's folder and locks it for this process.

    Raises:
        UserError: another process holds the lock (the message names the process), the folder cannot be
            created, or its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = acquired(folder / names.LOCK, wait=False)
    except Timeout as error:
        raise UserError(
            f"another run is at work here ({_holder(folder)})",
            where=str(folder),
            hint="wait for it, or end that process, then run the same command again",
        ) from error
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        holder = f"pid {os.getpid()} on {socket.gethostname()}\n"
        write_files({folder / names.LOCK_HOLDER: holder.encode()})
        yield
    finally:
        (folder / names.LOCK_HOLDER).unlink(missing_ok=True)
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether another process holds the lock of a run's folder."""
    if not folder.is_dir():
        return False
    try:
        acquired(folder / names.LOCK, wait=False).release()
    except Timeout:
        return True
    except (OSError, LocksRefusedError):  # the run itself reports this fault of the folder
        return False
    return False


def acquired(file: Path, *, wait: bool) -> BaseFileLock:
    """Acquires the lock on `file`, whose folder must exist. The caller must release the lock.

    Raises:
        Timeout: another process holds the lock, and `wait` is False.
        LocksRefusedError: the file system has no locks.
        OSError: the file cannot be created.
    """
    soft = os.environ.get(SOFT_LOCKS, "0") not in ("", "0")
    # A soft lock has another name: the file of a released flock stays, and would look like a held soft lock.
    lock = SoftFileLock(file.with_name(names.soft_lock(file.name))) if soft else FileLock(file, **_STRICT)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except (OSError, NotImplementedError) as error:
        # Older versions of filelock turn ENOSYS into NotImplementedError.
        if isinstance(error, NotImplementedError) or error.errno in REFUSALS:
            raise LocksRefusedError(
                f"the file system has no file locks ({error})",
                where=str(file.parent),
                hint=f"set {SOFT_LOCKS}=1 to lock with plain files, or choose a folder on another disk with --out",
            ) from error
        raise
    return lock


def _holder(folder: Path) -> str:
    """The process that holds the lock of a run's folder, as text. It writes its name just after it took the lock."""
    for _ in range(20):
        with suppress(OSError):
            if found := (folder / names.LOCK_HOLDER).read_text().strip():
                return found
        time.sleep(0.01)
    return "unknown process"
