"""Locks of run folders: the holder of a lock, killed runs, and file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ril_bench.errors import UserError
from ril_bench.storage.cache import cached
from ril_bench.storage.locks import SOFT_LOCKS, LocksRefusedError, is_locked, locked
from ril_bench.storage.run_folder import RunFolder

REFUSALS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP]


@pytest.fixture(params=["0", "1"], ids=["flock", "soft"])
def either_lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOFT_LOCKS, request.param)


@pytest.fixture(params=REFUSALS, ids=errno.errorcode.get)
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system on which flock raises an error."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("either_lock")
def test_a_second_process_is_refused_and_the_first_one_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert not is_locked(folder)
    with locked(folder):
        assert is_locked(folder)
        with pytest.raises(UserError, match=f"another run is at work here .pid {os.getpid()} on ") as caught:
            locked(folder).__enter__()
        assert caught.value.where == str(folder)
        assert "wait for it" in (caught.value.hint or "")
        assert is_locked(folder)
    assert not is_locked(folder)
    with locked(folder):
        pass


def test_a_killed_run_leaves_no_lock_and_its_half_written_files_are_removed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from ril_bench.storage.run_folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).lock():\n"
        "    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    RunFolder(sys.argv[1]).write_text('step-1/scores', 'x')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list((tmp_path / "step-1").glob(".*.tmp"))
    assert not is_locked(tmp_path)
    with RunFolder(tmp_path).lock():
        assert not list((tmp_path / "step-1").iterdir())


@pytest.mark.usefixtures("no_flock")
def test_the_error_for_a_file_system_without_locks_states_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LocksRefusedError, match="the file system has no file locks") as caught:
        locked(tmp_path).__enter__()
    assert caught.value.where == str(tmp_path)
    assert f"set {SOFT_LOCKS}=1" in (caught.value.hint or "")
    assert not is_locked(tmp_path)
    monkeypatch.setenv(SOFT_LOCKS, "1")
    with locked(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_older_versions_of_filelock_raise_another_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(LocksRefusedError, match="support flock"):
        locked(tmp_path).__enter__()


@pytest.mark.usefixtures("no_flock")
def test_a_cache_without_locks_computes_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path))
    assert cached("kind", {}, lambda: {"file": b"1"}) == {"file": b"1"}
    assert cached("kind", {}, lambda: {"file": b"2"}) == {"file": b"1"}


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        locked(tmp_path / "file" / "run").__enter__()
