"""Helpers that stop a run in the middle, and that read its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ril_bench.errors import message_of
from ril_bench.running.progress import Reporter
from tests.tiny import UPDATES, runner

LONG = [f"budget.updates={UPDATES}"]
RID = {"method": "rid", "settings": [*LONG, "method.strength=10", "method.decay=0.5", "method.teacher=keep"]}


class Stopping(Reporter):
    """Raises KeyboardInterrupt, or another error, after the given number of calls of `advance`."""

    def __init__(self, after: int, error: BaseException | None = None):
        super().__init__(quiet=True)
        self.left, self.error = after, error or KeyboardInterrupt()

    def advance(self, units: int = 1, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


class Killed(BaseException):
    """An exception that no code catches."""


def status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def log_lines(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    of_time = ("seconds", "crc32")
    return [{key: value for key, value in line.items() if key not in of_time} for line in lines]


def go_on_until_done(
    make: Callable[[], Any], interrupted: type[BaseException], limit: int = 200
) -> tuple[Path, int]:
    """Runs until nothing interrupts. Returns the folder and the number of interruptions."""
    for times in range(limit):
        try:
            return make().execute(), times
        except interrupted:
            continue
    raise AssertionError("never done")


def stopped(tiny_sequence: str, out: Path, after: int) -> Path:
    """The folder of a run that was interrupted after `after` units of work."""
    interrupted = runner(tiny_sequence, out, reporter=Stopping(after), **RID)
    with pytest.raises(KeyboardInterrupt):
        interrupted.execute()
    return interrupted.folder.path


def failed_run(sequence: str, out: Path, error: type[Exception]) -> tuple[Path, dict[str, Any], str]:
    """Runs a run that fails. Returns its folder, its run.json, and the message of the error."""
    failing = runner(sequence, out)
    with pytest.raises(error) as caught:
        failing.execute()
    run = status(failing.folder.path)
    assert run["status"] == "failed"
    assert run["failure"]["message"] == message_of(caught.value)
    return failing.folder.path, run, str(caught.value)
