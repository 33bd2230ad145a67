"""A disk that fills, or is read-only, while a run writes: one message, nothing lost, and the same command goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ril_bench.errors import InfrastructureError, RilError, UserError
from ril_bench.storage import files as storage_files
from tests.running.stopping import status
from tests.tiny import results, runner

#: numbers of writes after which the disk is full; `RIL_BENCH_MOMENTS=20` tries more
MOMENTS = int(os.environ.get("RIL_BENCH_MOMENTS", "4"))
WRITES = 75  # of this run, about


class Disk:
    """Fails from a write on, until it is repaired."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int):
        self.left, self.full, self.number, replace = 0, False, number, storage_files._replace

        def write(path: Path, data: bytes) -> None:
            self.left -= 1
            self.full |= self.left == 0
            if self.full:
                raise OSError(self.number, os.strerror(self.number))
            replace(path, data)

        monkeypatch.setattr(storage_files, "_replace", write)

    def fills_after(self, writes: int) -> None:
        self.left, self.full = writes + 1, False


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, InfrastructureError), (errno.EROFS, UserError)],
    ids=["full", "read-only"],
)
def test_a_disk_that_fails_loses_nothing(
    finished: Path,
    tiny_sequence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[RilError],
) -> None:
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))
    disk, errors = Disk(monkeypatch, number), []
    folder = runner(tiny_sequence, tmp_path).folder.path
    for k in range(MOMENTS):
        disk.fills_after(WRITES * k // MOMENTS)
        try:
            runner(tiny_sequence, tmp_path).execute()
        except kind as error:
            errors.append(error)
    assert len(errors) >= MOMENTS // 2
    assert all(os.strerror(number) in str(error) and error.hint for error in errors)
    disk.fills_after(10**6)
    assert runner(tiny_sequence, tmp_path).execute() == folder
    assert results(folder) == results(finished)
    assert status(folder)["failure"] is None
