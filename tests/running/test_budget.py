"""Bounds on calls: a task ends after the update that reaches a bound."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ril_bench.errors import UserError
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import Stopping
from tests.tiny import results, runner, write_sequence


def updates(folder):
    return [line["task"] for line in RunFolder(folder).read_log()]


@pytest.fixture(scope="module")
def of_length(tiny_sequence, tmp_path_factory) -> Callable[[int], dict[str, bytes]]:
    """The results of a run of so many updates a task."""

    @functools.cache
    def run(updates: int) -> dict[str, bytes]:
        out = tmp_path_factory.mktemp("of-length")
        return results(runner(tiny_sequence, out, settings=[f"budget.updates={updates}"]).execute())

    return run


# An update is 2 guided images at 3 steps: 12 forwards, 4 of them with a backward, and 2 reward calls.
@pytest.mark.parametrize(
    ("bound", "done"),
    [
        ("denoiser_forwards=24", 2),
        ("denoiser_forwards=25", 3),
        ("denoiser_backwards=9", 3),
        ("reward_calls=1", 1),
        ("reward_calls=1000", 4),  # the bound on updates is reached first
    ],
)
def test_a_task_ends_after_the_update_that_reaches_its_bound(tiny_sequence, tmp_path, of_length, bound, done):
    settings = ["budget.updates=4", f"budget.{bound}"]
    bounded = runner(tiny_sequence, tmp_path, settings=settings).execute()
    assert updates(bounded) == [1] * done + [2] * done
    assert results(bounded) == of_length(done)


BOUNDED = ["budget.updates=30", "budget.denoiser_forwards=50", "evaluation.every=2"]  # 5 updates


@pytest.fixture(scope="module")
def straight(tiny_sequence, tmp_path_factory) -> Path:
    return runner(tiny_sequence, tmp_path_factory.mktemp("straight"), settings=BOUNDED).execute()


@pytest.mark.parametrize("units", [3, 5, 10])  # updates 3 and 5 of task 1, and update 4 of task 2
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
