"""The run folder: atomic writes, one writer at a time, checkpoints, digests.

Every file is written under a temporary name in its own folder, synced and renamed, so that a reader, or a run
killed at any moment and started again, sees a whole file or none. Nothing is pickled. torch is imported only
with checkpoints: listing runs does not need it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ril_bench.errors import InfrastructureError, NumericalError, RilError, UserError

if TYPE_CHECKING:
    import pandas as pd

_USERS_FAULT = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


# --- digests ------------------------------------------------------------------------------------------------


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. Not finite numbers raise
    ValueError.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_json(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of plain values."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- atomic writes ------------------------------------------------------------------------------------------


def write_files(files: Mapping[Path, bytes]) -> None:
    """Writes each file whole or not at all; folders are made, and each is synced once for all its files.

    Raises:
        UserError: the folder cannot be written.
        InfrastructureError: the disk is full, or failed.
    """
    for path, data in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, data)
        except OSError as error:
            raise _write_error(path, error) from error
    for folder in {path.parent for path in files}:
        try:
            _sync_folder(folder)
        except OSError as error:
            raise _write_error(folder, error) from error


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_error(path: Path, error: OSError) -> RilError:
    what = f"cannot write {path.name}: {error.strerror or error}"
    if error.errno in _USERS_FAULT:
        return UserError(what, where=str(path), hint="choose a folder that you may write to with --out")
    return InfrastructureError(
        what, where=str(path), hint="make room on the disk, then run the same command again: it goes on"
    )


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON to be read by people and tools: NaN becomes null, as JSON has no NaN; infinities raise
    NumericalError.

    numpy's scalars and arrays count as the plain values that they hold.
    """
    try:
        return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
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


def read_json(path: Path) -> Any:
    """The value in a JSON file; UserError if there is none, or if it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"no {path.name} here", where=str(path), hint="name the folder of a run") from error
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {path.name}: {error}", where=str(path)) from error


# --- the folder ---------------------------------------------------------------------------------------------


class RunFolder:
    """A run's folder. File names are relative to it ("step-1/adapter.safetensors"); parents are made as
    needed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the folder and holds it for this process, clearing what a killed writer left half-written.

        The kernel lets go when the process ends, however it ends: no stale lock can block a resume.

        Raises:
            UserError: another run holds it (its pid is named), or the folder cannot be made.
        """
        lock_file = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _write_error(self.path, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                raise UserError(
                    f"another run is at work here (pid {holder})",
                    where=str(self.path),
                    hint="wait for it, or end that process, then run the same command again",
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            for leftover in self.path.rglob(".*.tmp"):
                leftover.unlink()
            yield
        finally:
            os.close(descriptor)

    @property
    def is_locked(self) -> bool:
        """Whether another process is at work here."""
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    # writing

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Many files at once (a step's images), each folder synced once; see `write_files` for what is
        raised.
        """
        write_files({self.path / name: data for name, data in files.items()})

    def write_bytes(self, name: str, data: bytes) -> None:
        self.write_all({name: data})

    def write_text(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode())

    def write_json(self, name: str, value: Any) -> None:
        """As `to_json`: NaN is written as null."""
        self.write_text(name, to_json(value))

    def write_csv(self, name: str, table: pd.DataFrame) -> None:
        """A table, its index too if that has a name; numbers in the shortest form that reads back to the
        bit.
        """
        self.write_text(name, table.to_csv(index=table.index.name is not None, lineterminator="\n"))

    def write_parquet(self, name: str, table: pd.DataFrame) -> None:
        """A table without its index."""
        buffer = io.BytesIO()
        table.to_parquet(buffer, engine="pyarrow", index=False)
        self.write_bytes(name, buffer.getvalue())

    def read_json(self, name: str) -> Any:
        return read_json(self.path / name)

    def step(self, i: int) -> Path:
        """The folder of step i (0 is the pretrained model); it is made by the first file written into it."""
        return self.path / f"step-{i}"

    # run.json

    @property
    def exists(self) -> bool:
        """True if a run has begun here."""
        return (self.path / "run.json").is_file()

    def read_run(self) -> dict[str, Any]:
        """run.json; UserError if this is no run's folder."""
        run = self.read_json("run.json")
        if not isinstance(run, dict):
            raise UserError("run.json holds no object", where=str(self.path / "run.json"))
        return run

    def update_run(self, **changes: Any) -> dict[str, Any]:
        """Sets top-level keys of run.json, which is made if absent; returns the whole."""
        run = (self.read_run() if self.exists else {}) | changes
        self.write_json("run.json", run)
        return run

    # log.jsonl

    def append_log(self, line: Mapping[str, Any]) -> None:
        """One line of log.jsonl, in one write: a kill leaves at most the last line torn."""
        data = to_json(line, indent=None).encode()
        path = self.path / "log.jsonl"
        try:
            with open(path, "ab", buffering=0) as file:
                written = file.write(data)
        except OSError as error:
            raise _write_error(path, error) from error
        if written != len(data):
            raise InfrastructureError("log.jsonl was written in part", where=str(path))

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl; a torn last line (the run was killed in it) is left out.

        Raises:
            UserError: another line is not JSON.
        """
        path = self.path / "log.jsonl"
        if not path.exists():
            return []
        lines = path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise UserError(f"log.jsonl is damaged: {error}", where=str(path)) from error

    def truncate_log(self, task: int, update: int) -> None:
        """Keeps the lines before update `update` (from 0) of task `task` (from 1): a resume writes the rest
        anew.
        """
        kept = [line for line in self.read_log() if (line["task"], line["update"]) < (task, update)]
        self.write_text("log.jsonl", "".join(to_json(line, indent=None) for line in kept))

    # checkpoints

    def checkpoint(self, name: str) -> Path:
        """The file of a checkpoint."""
        return self.path / "checkpoint" / f"{name}.safetensors"

    def save_checkpoint(self, name: str, tree: Any) -> None:
        """Stores a tree as `pack` takes it; whatever goes wrong is raised."""
        from ril_bench.storage.checkpoint import pack

        self.write_bytes(f"checkpoint/{name}.safetensors", pack(tree))

    def load_checkpoint(self, name: str) -> Any:
        """The tree that was saved, or None if there is none.

        Raises:
            UserError: the file is truncated or altered.
        """
        from ril_bench.storage.checkpoint import unpack

        path = self.checkpoint(name)
        try:
            return unpack(path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise UserError(
                f"the checkpoint cannot be used: {error}",
                where=str(path),
                hint="delete this file: the run goes on from the start of the task",
            ) from error

    def drop_checkpoint(self, name: str) -> None:
        """Removes one, if it is there."""
        self.checkpoint(name).unlink(missing_ok=True)

    def drop_checkpoints(self) -> None:
        """Removes checkpoint/: a complete run needs none."""
        folder = self.path / "checkpoint"
        if folder.exists():
            shutil.rmtree(folder)


class Onlooker(RunFolder):
    """A run's folder as the processes see it that help with a run and write nothing: it can be read alone."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Nothing is written."""

    def update_run(self, **changes: Any) -> dict[str, Any]:
        """Nothing is written."""
        return changes

    def append_log(self, line: Mapping[str, Any]) -> None:
        """Nothing is written."""

    def read_log(self) -> list[dict[str, Any]]:
        """What the main process logs is not shown here."""
        return []

    def save_checkpoint(self, name: str, tree: Any) -> None:
        """Nothing is written."""

    def drop_checkpoint(self, name: str) -> None:
        """Nothing is removed."""

    def drop_checkpoints(self) -> None:
        """Nothing is removed."""
