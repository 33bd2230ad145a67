"""The writer of a run's folder: lock, tables, log, checkpoints.

Imports torch only for checkpoints: listing runs does not need it.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ril_bench.errors import InfrastructureError, UserError
from ril_bench.storage import locks, names, read
from ril_bench.storage.files import write_error, write_files
from ril_bench.storage.integrity import FILES
from ril_bench.storage.seals import checked_line, sealed, unchecked_line

if TYPE_CHECKING:
    import pandas as pd


class RunFolder:
    """Writes a run's folder, and reads only the files that a resume needs.

    Names of files are relative to the folder ("step-1/adapter.safetensors"). Missing folders are created.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Creates the folder, and locks it for this process.

        Removes half-written files that a killed process has left.

        Raises:
            UserError: another run holds the lock (the message names its pid), or the folder cannot be
                created.
        """
        with locks.locked(self.path):
            for leftover in self.path.rglob(names.TEMPORARIES):
                leftover.unlink()
            yield

    @property
    def is_locked(self) -> bool:
        """Whether another process works in the folder."""
        return locks.is_locked(self.path)

    # -- files -----------------------------------------------------------------------------------------------

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Writes many files (a step's images), and syncs each folder once.

        Raises what `write_files` raises.
        """
        write_files({self.path / name: data for name, data in files.items()})

    def write_bytes(self, name: str, data: bytes) -> None:
        self.write_all({name: data})

    def write_text(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode())

    def write_sealed(self, name: str, value: Mapping[str, Any]) -> None:
        """Writes an object as JSON with a digest of itself."""
        self.write_text(name, sealed(value))

    def step(self, i: int) -> Path:
        """The folder of step i (0 is the pretrained model). Writing its first file creates it."""
        return self.path / names.step(i)

    # -- run.json --------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return (self.path / names.RUN).is_file()

    def read_run(self) -> dict[str, Any]:
        """run.json. Raises UserError if this is not the folder of a run."""
        return read.read_info(self.path)

    def update_run(self, **changes: Any) -> dict[str, Any]:
        """Sets top-level keys of run.json, creates the file if needed, and returns its content."""
        run = (self.read_run() if self.exists else {}) | changes
        self.write_sealed(names.RUN, run)
        return run

    def record(self, files: Mapping[str, bytes], **changes: Any) -> None:
        """Records the digests of finished files in run.json, with other changes."""
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        self.update_run(**{FILES: self.read_run().get(FILES, {}) | digests}, **changes)

    # -- log.jsonl -------------------------------------------------------------------------------------------

    def append_log(self, line: Mapping[str, Any]) -> None:
        """Appends a line to log.jsonl in one write: a kill can cut only the last line."""
        data = checked_line(line).encode()
        path = self.path / names.LOG
        try:
            with open(path, "ab", buffering=0) as file:
                written = file.write(data)
        except OSError as error:
            raise write_error(path, error) from error
        if written != len(data):
            raise InfrastructureError(f"{names.LOG} was written in part", where=str(path))

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl, without a partial last line.

        Raises UserError if another line is not JSON.
        """
        checked = self.exists and FILES in self.read_run()
        return read.read_log(self.path, checked=checked)

    def truncate_log(self, task: int, update: int) -> None:
        """Keeps the lines before update `update` (from 0) of task `task` (from 1).

        A resume writes the other lines again.
        """
        kept = [line for line in self.read_log() if (line["task"], line["update"]) < (task, update)]
        self.write_text(names.LOG, "".join(map(checked_line, kept)))

    def drop_damaged_log_lines(self) -> int:
        """Removes the lines that do not match their checksum; returns how many these were."""
        path, kept = self.path / names.LOG, []
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
        for line in lines:
            with suppress(ValueError, RecursionError):
                value, checked = unchecked_line(line)
                kept += [value] * checked
        if len(kept) < len(lines):
            self.write_text(names.LOG, "".join(map(checked_line, kept)))
        return len(lines) - len(kept)

    def rewrite_log(self) -> bytes:
        """Writes the log without a partial last line, and without a second line of an update; returns its bytes."""
        lines = {(line["task"], line["update"]): line for line in reversed(self.read_log())}
        self.write_text(names.LOG, "".join(map(checked_line, reversed(lines.values()))))
        return (self.path / names.LOG).read_bytes()

    # -- checkpoints -----------------------------------------------------------------------------------------

    def checkpoint(self, name: str) -> Path:
        """The file of a checkpoint."""
        return self.path / names.checkpoint(name)

    def save_checkpoint(self, name: str, tree: Any) -> None:
        """Stores a tree that `pack` accepts. Raises every failure."""
        from ril_bench.storage.checkpoint import pack

        self.write_bytes(names.checkpoint(name), pack(tree))

    def load_checkpoint(self, name: str) -> Any:
        """The tree that was saved, or None if there is no such checkpoint.

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
                hint="delete this file, or add --repair: the run goes on from the start of the task",
            ) from error

    def drop_checkpoint(self, name: str) -> None:
        """Removes a checkpoint, if it is there."""
        self.checkpoint(name).unlink(missing_ok=True)

    def drop_checkpoints(self) -> None:
        """Removes all checkpoints: a complete run needs none."""
        folder = self.path / names.CHECKPOINTS
        if folder.exists():
            shutil.rmtree(folder)


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A table as CSV, with its index if the index has a name.

    Numbers have the shortest form that reads back to the same bits.
    """
    return table.to_csv(index=table.index.name is not None, lineterminator="\n").encode()


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """A table as Parquet, without its index."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


class Onlooker(RunFolder):
    """The folder of a run for its other processes: they can read it; writes do nothing."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Writes nothing."""

    def update_run(self, **changes: Any) -> dict[str, Any]:
        """Writes nothing."""
        return changes

    def record(self, files: Mapping[str, bytes], **changes: Any) -> None:
        """Writes nothing."""

    def append_log(self, line: Mapping[str, Any]) -> None:
        """Writes nothing."""

    def read_log(self) -> list[dict[str, Any]]:
        """An empty log: only the main process has one."""
        return []

    def save_checkpoint(self, name: str, tree: Any) -> None:
        """Writes nothing."""

    def drop_checkpoint(self, name: str) -> None:
        """Removes nothing."""

    def drop_checkpoints(self) -> None:
        """Removes nothing."""
