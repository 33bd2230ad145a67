"""Bounds on calls: a task ends after the update that reaches a bound."""

from __future__ import annotations

import json

import pytest

from ril_bench.errors import UserError
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import Stopping
from tests.tiny import results, runner, write_sequence


def updates(folder):
    return [line["task"] for line in RunFolder(folder).read_log()]


# An update is 2 guided images at 3 steps: 12 forwards, 4 of them with a backward, and 2 reward calls.
@pytest.mark.parametrize(
    ("bound", "done"),
    [
        ("denoiser_forwards=36", 3),
        ("denoiser_forwards=37", 4),
        ("denoiser_backwards=9", 3),
        ("reward_calls=1", 1),
        ("reward_calls=1000", 12),  # the bound on updates is reached first
    ],
)
def test_a_task_ends_after_the_update_that_reaches_its_bound(tiny_sequence, tmp_path, bound, done):
    settings = ["budget.updates=12", f"budget.{bound}"]
    bounded = runner(tiny_sequence, tmp_path, settings=settings).execute()
    assert updates(bounded) == [1] * done + [2] * done
    short = runner(tiny_sequence, tmp_path, settings=[f"budget.updates={done}"]).execute()
    assert results(bounded) == results(short)


@pytest.mark.parametrize("units", [8, 12, 25])
def test_a_resume_keeps_the_count(tiny_sequence, tmp_path, units):
    settings = ["budget.updates=30", "budget.denoiser_forwards=140", "evaluation.every=4"]  # 12 updates
    straight = runner(tiny_sequence, tmp_path / "straight", settings=settings).execute()
    with pytest.raises(KeyboardInterrupt):
        runner(tiny_sequence, tmp_path, reporter=Stopping(units), settings=settings).execute()
    again = runner(tiny_sequence, tmp_path, settings=settings).execute()
    assert updates(again) == updates(straight) == [1] * 12 + [2] * 12
    assert results(again) == results(straight)
    assert (again / "anytime.parquet").read_bytes() == (straight / "anytime.parquet").read_bytes()
    within = {file.name for file in again.glob("step-1/update-*")}
    assert within == {"update-000004.parquet", "update-000008.parquet"}  # update 12 ends the step


def test_a_sequence_without_bounds_keeps_its_digest(tiny_sequence, tiny_data, tmp_path):
    plain = load_sequence(tiny_sequence)
    assert "denoiser_forwards" not in json.dumps(plain.model_dump(mode="json"))
    bounded = load_sequence(tiny_sequence, {"budget.denoiser_forwards": 100})
    assert bounded.sha256 != plain.sha256
    assert bounded.task(1).budget.bounds == {"denoiser_forwards": 100}
    budget = {**tiny_data["budget"], "reward_calls": 0}
    with pytest.raises(UserError, match="greater than or equal to 1"):
        load_sequence(write_sequence(tmp_path / "tiny.yaml", tiny_data, budget=budget))
