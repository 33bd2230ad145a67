"""Bounds on calls: a task ends after the update that reaches a bound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ril_bench.errors import UserError
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage.run_folder import RunFolder
from tests import tiny
from tests.running.stopping import Stopping
from tests.tiny import LoraPerTask, results, runner, training, write_sequence


def updates(folder):
    return [line["task"] for line in RunFolder(folder).read_log()]


# An update is 2 guided images at 3 steps: 12 forwards, 4 of them with a backward, and 2 reward calls.
@pytest.mark.parametrize(
    ("bound", "most", "done"),
    [
        ("denoiser_forwards", 24, 2),
        ("denoiser_forwards", 25, 3),
        ("denoiser_backwards", 9, 3),
        ("reward_calls", 1, 1),
        ("reward_calls", 1000, 4),  # the bound on updates is reached first
    ],
)
def test_a_task_ends_after_the_update_that_reaches_its_bound(tiny_model, bound, most, done):
    one, lines = training(tiny_model, tiny.bound(LoraPerTask(), tiny_model), updates=4), []
    one.bounds = {bound: most}
    one.run(lines.append)
    assert len(lines) == one.update == done


def test_it_ends_with_the_bytes_of_a_run_of_as_many_updates(tiny_sequence, tmp_path, finished):
    settings = ["budget.updates=9", "budget.denoiser_forwards=24"]
    bounded = runner(tiny_sequence, tmp_path, settings=settings).execute()
    assert updates(bounded) == [1, 1, 2, 2]
    assert results(bounded) == results(finished)


BOUNDED = ["budget.updates=30", "budget.denoiser_forwards=50", "evaluation.every=2"]  # 5 updates


@pytest.fixture(scope="module")
def straight(tiny_sequence, tmp_path_factory) -> Path:
    return runner(tiny_sequence, tmp_path_factory.mktemp("straight"), settings=BOUNDED).execute()


@pytest.mark.parametrize("units", [3, 10])  # update 3 of task 1, and update 4 of task 2
def test_a_resume_keeps_the_count(tiny_sequence, tmp_path, straight, units):
    with pytest.raises(KeyboardInterrupt):
        runner(tiny_sequence, tmp_path, reporter=Stopping(units), settings=BOUNDED).execute()
    again = runner(tiny_sequence, tmp_path, settings=BOUNDED).execute()
    assert updates(again) == updates(straight) == [1] * 5 + [2] * 5
    assert results(again) == results(straight)
    assert (again / "anytime.parquet").read_bytes() == (straight / "anytime.parquet").read_bytes()
    within = {file.name for file in again.glob("step-1/update-*")}
    assert within == {"update-000002.parquet", "update-000004.parquet"}


def test_a_sequence_without_bounds_keeps_its_digest(tiny_sequence, tiny_data, tmp_path):
    plain = load_sequence(tiny_sequence)
    assert "denoiser_forwards" not in json.dumps(plain.model_dump(mode="json"))
    bounded = load_sequence(tiny_sequence, {"budget.denoiser_forwards": 100})
    assert bounded.sha256 != plain.sha256
    assert bounded.task(1).budget.bounds == {"denoiser_forwards": 100}
    budget = {**tiny_data["budget"], "reward_calls": 0}
    with pytest.raises(UserError, match="greater than or equal to 1"):
        load_sequence(write_sequence(tmp_path / "tiny.yaml", tiny_data, budget=budget))
