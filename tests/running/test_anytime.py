"""Scores between updates (evaluation.every), for the anytime figures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import Stopping
from tests.tiny import results, runner

EVERY = ["budget.updates=12", "evaluation.every=5"]  # a checkpoint after 10


def between(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "anytime.parquet")


def test_what_is_scored_between_updates_is_what_a_shorter_run_ends_with(tiny_sequence, tmp_path):
    scores = between(runner(tiny_sequence, tmp_path, settings=EVERY).execute())
    assert scores[["step", "update"]].drop_duplicates().to_numpy().tolist() == [
        [1, 5],
        [1, 10],
        [2, 5],
        [2, 10],
    ]
    short = runner(tiny_sequence, tmp_path, settings=["budget.updates=5"]).execute()
    ended = pd.read_parquet(short / "step-1" / "scores.parquet")
    same = (
        scores[(scores["step"] == 1) & (scores["update"] == 5)].drop(columns="update").reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(same, ended)


def test_looking_changes_nothing_but_what_it_costs(tiny_sequence, tmp_path):
    looked = RunFolder(runner(tiny_sequence, tmp_path, settings=EVERY).execute())
    blind = RunFolder(runner(tiny_sequence, tmp_path, settings=["budget.updates=12"]).execute())
    assert results(looked.path) == results(blind.path)
    for one, other in zip(looked.read_run()["steps"][1:], blind.read_run()["steps"][1:], strict=True):
        assert one["training_calls"] == other["training_calls"]
        evaluations = [sum(n for *_, n in entry["evaluation_calls"]) for entry in (one, other)]
        assert evaluations[0] == 3 * evaluations[1]


@pytest.mark.parametrize("units", [10, 14, 24])
def test_stopped_and_gone_on_with(tiny_sequence, tmp_path, units):
    straight = runner(tiny_sequence, tmp_path / "straight", settings=EVERY).execute()
    with pytest.raises(KeyboardInterrupt):
        runner(tiny_sequence, tmp_path, reporter=Stopping(units), settings=EVERY).execute()
    again = runner(tiny_sequence, tmp_path, settings=EVERY).execute()
    assert (again / "anytime.parquet").read_bytes() == (straight / "anytime.parquet").read_bytes()
    calls = [
        [step["evaluation_calls"] for step in RunFolder(one).read_run()["steps"][1:]]
        for one in (again, straight)
    ]
    assert calls[0] == calls[1]


def test_a_run_without_it_keeps_its_digest_and_has_no_such_file(tiny_sequence, tmp_path):
    one = runner(tiny_sequence, tmp_path)
    assert "every" not in one.plan.identity()["sequence"]["evaluation"]
    assert not (one.execute() / "anytime.parquet").exists()
