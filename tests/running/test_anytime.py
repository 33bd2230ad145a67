"""Scores between updates (evaluation.every), for the anytime metrics."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import Stopping
from tests.tiny import results, runner

EVERY = ["budget.updates=12", "evaluation.every=5"]  # a checkpoint after 10 updates


def between(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "anytime.parquet")


def test_scores_between_updates_are_the_final_scores_of_a_shorter_run(tiny_sequence, tmp_path):
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


def test_evaluations_between_updates_change_only_the_cost(tiny_sequence, tmp_path):
    watched = RunFolder(runner(tiny_sequence, tmp_path, settings=EVERY).execute())
    plain = RunFolder(runner(tiny_sequence, tmp_path, settings=["budget.updates=12"]).execute())
    assert results(watched.path) == results(plain.path)
    for pair in zip(watched.read_run()["steps"][1:], plain.read_run()["steps"][1:], strict=True):
        assert pair[0]["training_calls"] == pair[1]["training_calls"]
        evaluations = [sum(n for *_, n in entry["evaluation_calls"]) for entry in pair]
        # two more evaluations of 3 denoiser calls, a decoding and 2 rewards; drift is measured only at the end
        assert evaluations[0] == evaluations[1] + 2 * (3 + 1 + 2)


@pytest.mark.parametrize("units", [10, 14, 24])
def test_a_resume_gives_the_same_scores_between_updates(tiny_sequence, tmp_path, units):
    straight = runner(tiny_sequence, tmp_path / "straight", settings=EVERY).execute()
    with pytest.raises(KeyboardInterrupt):
        runner(tiny_sequence, tmp_path, reporter=Stopping(units), settings=EVERY).execute()
    again = runner(tiny_sequence, tmp_path, settings=EVERY).execute()
    assert (again / "anytime.parquet").read_bytes() == (straight / "anytime.parquet").read_bytes()
    calls = [
        [step["evaluation_calls"] for step in RunFolder(folder).read_run()["steps"][1:]]
        for folder in (again, straight)
    ]
    assert calls[0] == calls[1]


def test_a_run_without_it_keeps_its_digest_and_has_no_such_file(tiny_sequence, tmp_path):
    plain = runner(tiny_sequence, tmp_path)
    assert "every" not in plain.plan.identity()["sequence"]["evaluation"]
    assert not (plain.execute() / "anytime.parquet").exists()
