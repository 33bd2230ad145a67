"""A run that is stopped and started again gives the same bytes as without a stop."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.running.progress import Reporter
from ril_bench.running.runner import Runner
from ril_bench.running.steps import Steps
from ril_bench.running.training import Training
from ril_bench.storage import files as storage_files
from tests.running.stopping import RID, Killed, Stopping, go_on_until_done, log_lines, status, stopped
from tests.tiny import CHECKPOINT_EVERY, UPDATES, results, runner


@pytest.mark.parametrize(
    "units",
    [
        # in the first and the last update, in the evaluation, and just before the first checkpoint of task 2
        [1, UPDATES, 2, 1 + CHECKPOINT_EVERY],
        # twice in the evaluation, and after the first checkpoint of task 2
        [UPDATES + 1, 1, 1 + UPDATES],
    ],
)
def test_ctrl_c_and_the_same_command_again(tiny_sequence, tmp_path, straight, units):
    reporters = [*map(Stopping, units), Reporter(quiet=True)]
    folder, times = go_on_until_done(
        lambda: runner(tiny_sequence, tmp_path, reporter=reporters.pop(0), **RID), KeyboardInterrupt
    )
    assert times == len(units)
    assert results(folder) == straight
    assert [(line["task"], line["update"]) for line in log_lines(folder)] == [
        (task, update) for task in (1, 2) for update in range(UPDATES)
    ]
    assert not (folder / "checkpoint").exists()


def test_a_run_keeps_the_number_of_threads_with_which_it_began(tiny_sequence, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        runner(tiny_sequence, tmp_path, reporter=Stopping(4)).execute()
    continued = runner(tiny_sequence, tmp_path)
    assert continued.threads == 1
    continued.threads = 2
    folder = continued.execute()
    assert torch.get_num_threads() == 1
    assert status(folder)["hardware"]["threads"] == 1


def test_an_interrupted_run_still_has_the_status_running(tiny_sequence, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        runner(tiny_sequence, tmp_path, reporter=Stopping(4)).execute()
    (run_json,) = tmp_path.rglob("run.json")
    assert (status(run_json.parent)["status"], status(run_json.parent)["failure"]) == ("running", None)


@pytest.mark.slow
@pytest.mark.parametrize("method", registry.names("method"))
def test_killed_between_the_end_of_a_task_and_its_evaluation(tiny_sequence, tmp_path, monkeypatch, method):
    """Some methods let nothing train at that moment."""
    whole = runner(tiny_sequence, tmp_path / "whole", method=method).execute()
    evaluate, killed = Steps.evaluate, []

    def dying(self: Steps, training: Training) -> None:
        if training.step not in killed:
            killed.append(training.step)
            raise Killed
        evaluate(self, training)

    monkeypatch.setattr(Steps, "evaluate", dying)
    folder, times = go_on_until_done(
        lambda: runner(tiny_sequence, tmp_path / "killed", method=method), Killed
    )
    assert times == 2
    assert results(folder) == results(whole)
    assert log_lines(folder) == log_lines(whole)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False], ids=["after a write", "during a write"])
def test_killed_around_any_write(tiny_sequence, tmp_path, straight, monkeypatch, whole):
    replace, left = storage_files._replace, [0]

    def dying(path: Path, data: bytes) -> None:
        left[0] -= 1
        if left[0] == 0 and not whole:
            (path.parent / f".{path.name}.1.tmp").write_bytes(data[: len(data) // 2])
            raise Killed
        replace(path, data)
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(storage_files, "_replace", dying)
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))
    rng = random.Random(whole)

    def incarnation() -> Any:
        left[0] = rng.randrange(3, 26)  # a step needs about 20
        return runner(tiny_sequence, tmp_path, **RID)

    folder, times = go_on_until_done(incarnation, Killed)
    assert times >= 4
    assert results(folder) == straight
    assert not list(folder.rglob("*.tmp"))


def test_a_damaged_checkpoint_is_named_and_the_hint_repairs_the_run(tiny_sequence, tmp_path, straight):
    folder = stopped(tiny_sequence, tmp_path, UPDATES + 1 + UPDATES)  # in task 2, after its first checkpoint
    latest = folder / "checkpoint" / "latest.pt"
    latest.write_bytes(latest.read_bytes()[:-100])
    with pytest.raises(UserError, match="the checkpoint cannot be used") as caught:
        runner(tiny_sequence, tmp_path, **RID).execute()
    assert caught.value.where == str(latest)
    assert caught.value.hint.startswith("delete this file")
    failure = status(folder)
    assert (failure["status"], failure["failure"]["class"]) == ("failed", "user")
    latest.unlink()
    assert results(runner(tiny_sequence, tmp_path, **RID).execute()) == straight


def test_a_checkpoint_that_is_lost_between_two_tasks(tiny_sequence, tmp_path, straight, monkeypatch):
    """Step 1 is done, task 2 has not begun, and only the "start" checkpoint of task 1 is left."""

    def killed(self: Any, i: int) -> None:
        if i == 2:
            raise Killed
        return started(self, i)

    started = Runner._start_task
    monkeypatch.setattr(Runner, "_start_task", killed)
    with pytest.raises(Killed):
        runner(tiny_sequence, tmp_path, **RID).execute()
    monkeypatch.undo()
    folder = runner(tiny_sequence, tmp_path, **RID).folder.path
    assert len(status(folder)["steps"]) == 2
    (folder / "checkpoint" / "latest.pt").unlink()
    assert results(runner(tiny_sequence, tmp_path, **RID).execute()) == straight
    assert [step["step"] for step in status(folder)["steps"]] == [0, 1, 2]


def test_without_any_checkpoint_a_later_task_cannot_go_on(tiny_sequence, tmp_path):
    folder = stopped(tiny_sequence, tmp_path, UPDATES + 1 + 1)
    for file in (folder / "checkpoint").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="step 1 is done, but its checkpoint is missing") as caught:
        runner(tiny_sequence, tmp_path, **RID).execute()
    assert "delete the run's folder" in caught.value.hint


def test_counts_include_what_a_killed_process_did(finished, tiny_sequence, tmp_path):
    reporters = [Stopping(2), Stopping(3), Stopping(2), Reporter(quiet=True)]
    folder, times = go_on_until_done(
        lambda: runner(tiny_sequence, tmp_path, reporter=reporters.pop(0), account=True), KeyboardInterrupt
    )
    assert status(folder)["cost"] is None  # its wall time is not the time of a single process
    assert times == 3
    keys = ("denoiser_forwards", "denoiser_backwards", "reward_calls", "carried_bytes", "stored_bytes")
    resumed, whole = (
        [[step[key] for key in keys] for step in status(run)["steps"][1:]] for run in (folder, finished)
    )
    assert resumed == whole
