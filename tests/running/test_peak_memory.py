"""The peak of memory belongs to a step: earlier steps do not count, and an interruption loses nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ril_bench.machine.peak_memory import start_peak_memory
from ril_bench.running.progress import Reporter
from tests.running.stopping import status
from tests.tiny import runner

SIZE = 400 << 20


class Hungry(Reporter):
    """Takes and frees memory when task 1 begins to train; may interrupt the run after some updates of it."""

    def __init__(self, stop_after: int | None = None):
        super().__init__(quiet=True)
        self.stop_after, self.updates, self.in_task = stop_after, 0, False

    def stage(self, name: str, *units: int) -> None:
        super().stage(name, *units)
        self.in_task = name.startswith("task 1")
        if self.in_task:
            torch.ones(SIZE // 4)

    def advance(self, units: int = 1, note: str = "") -> None:
        self.updates += self.in_task
        if self.updates == self.stop_after:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def countable() -> None:
    if not start_peak_memory(torch.device("cpu")):
        pytest.skip("this system does not let a process start its peak again")


def check(folder: Path) -> None:
    zero, one, two = (step["peak_memory_bytes"] for step in status(folder)["steps"])
    assert one > max(zero, two) + SIZE // 2
    assert json.loads((folder / "metrics.json").read_text())["resources"]["peak_memory_bytes"] == one


def test_a_step_does_not_state_the_peak_of_another(tiny_sequence, tmp_path):
    check(runner(tiny_sequence, tmp_path, reporter=Hungry()).execute())


def test_a_resumed_step_keeps_the_peak_of_the_process_before(tiny_sequence, tmp_path):
    """The checkpoint after update 2 has it; the process that goes on takes little."""
    settings = {"budget.updates": 3}
    with pytest.raises(KeyboardInterrupt):
        runner(tiny_sequence, tmp_path, reporter=Hungry(stop_after=3), settings=settings).execute()
    check(runner(tiny_sequence, tmp_path, settings=settings).execute())
