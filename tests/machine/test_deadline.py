"""Deadlines and exits of code of others."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from ril_bench.errors import UserError
from ril_bench.machine.deadline import DeadlineError, deadline
from ril_bench.machine.exits import exits_refused
from ril_bench.machine.parallel import team


def ours(file: str) -> bool:
    return file == __file__


def hangs() -> None:
    while True:
        pass


def test_what_hangs_is_stopped_and_named() -> None:
    with (
        pytest.raises(DeadlineError, match=r"not done after 0\.05 s, in test_what_hangs"),
        deadline(0.05, ours),
    ):
        hangs()


def helper_that_hangs() -> None:
    hangs()


def test_the_hook_is_named_and_not_its_helper() -> None:
    with pytest.raises(DeadlineError, match="in test_the_hook_is_named"), deadline(0.05, ours):
        helper_that_hangs()


def catches_everything() -> None:
    while True:
        with suppress(Exception):
            hangs()


def test_code_that_catches_exceptions_is_stopped_too() -> None:
    with pytest.raises(DeadlineError), deadline(0.05, ours):
        catches_everything()


def test_code_that_catches_every_exception_ends_with_the_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ril_bench.machine.deadline.AGAIN", 0.05)
    pid = os.fork()
    if pid == 0:
        with deadline(0.05, ours):
            while True:
                with suppress(BaseException):
                    hangs()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert "it catches the error that would stop it" in capfd.readouterr().err


def test_what_ends_in_time_is_not_disturbed() -> None:
    with deadline(60, ours):
        assert sum(range(10)) == 45
    found = []
    other = threading.Thread(target=lambda: found.append(deadline(1, ours).__enter__()))
    other.start()
    other.join()
    assert found == [None]  # a thread has no deadline


def test_an_exit_of_others_can_be_caught() -> None:
    real = os._exit
    with exits_refused(ours):
        with pytest.raises(SystemExit) as caught:
            os._exit(3)
        assert caught.value.code == 3
    assert os._exit is real


def test_an_exit_of_our_own_ends_the_process(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        with exits_refused(lambda file: False):
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@pytest.mark.parametrize("size", ["2", "two", "-1"])
def test_a_size_of_the_world_without_a_launcher(monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    team.cache_clear()
    with pytest.raises(UserError, match="WORLD_SIZE is") as caught:
        team()
    assert "accelerate launch" in str(caught.value.hint)
    team.cache_clear()
