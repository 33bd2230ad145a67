"""Scores between updates (evaluation.every), for the anytime metrics."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ril_bench.running.progress import Reporter
from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import Stopping
from tests.tiny import results, runner

EVERY = ["budget.updates=5", "evaluation.every=2"]


def between(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "anytime.parquet")


def watched(sequence: str, out: Path, reporter: Reporter | None = None) -> Path:
    """A run with scores after updates 2 and 4. Only after update 4 there is a checkpoint, too."""
    return runner(sequence, out, reporter=reporter, settings=EVERY, checkpoint_every=4).execute()


@pytest.fixture(scope="module")
def straight(tiny_sequence, tmp_path_factory) -> Path:
    return watched(tiny_sequence, tmp_path_factory.mktemp("straight"))


def test_scores_between_updates_are_the_final_scores_of_a_shorter_run(straight, finished):
    scores = between(straight)
    evaluated = scores[["step", "update"]].drop_duplicates().to_numpy().tolist()
    assert evaluated == [[1, 2], [1, 4], [2, 2], [2, 4]]
    ended = pd.read_parquet(finished / "step-1" / "scores.parquet")  # after 2 updates
    same = (
        scores[(scores["step"] == 1) & (scores["update"] == 2)].drop(columns="update").reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(same, ended)


def test_evaluations_between_updates_change_only_the_cost(tiny_sequence, tmp_path, straight):
    watched = RunFolder(straight)
    plain = RunFolder(runner(tiny_sequence, tmp_path, settings=["budget.updates=5"]).execute())
    assert results(watched.path) == results(plain.path)
    for pair in zip(watched.read_run()["steps"][1:], plain.read_run()["steps"][1:], strict=True):
        assert pair[0]["training_calls"] == pair[1]["training_calls"]
        evaluations = [sum(n for *_, n in entry["evaluation_calls"]) for entry in pair]
        # two more evaluations of 3 denoiser calls, a decoding and 2 rewards; drift is measured only at the end
        assert evaluations[0] == evaluations[1] + 2 * (3 + 1 + 2)


@pytest.mark.parametrize("units", [4, 11])  # update 4 of task 1, and the last update of task 2
def test_a_resume_gives_the_same_scores_between_updates(tiny_sequence, tmp_path, straight, units):
    with pytest.raises(KeyboardInterrupt):
        watched(tiny_sequence, tmp_path, Stopping(units))
    again = watched(tiny_sequence, tmp_path)
    assert (again / "anytime.parquet").read_bytes() == (straight / "anytime.parquet").read_bytes()
    calls = [
        [step["evaluation_calls"] for step in RunFolder(folder).read_run()["steps"][1:]]
        for folder in (again, straight)
    ]
    assert calls[0] == calls[1]


@pytest.mark.parametrize("repaired", [False, True])
def test_scores_of_a_training_that_is_left_do_not_stay(tiny_sequence, tmp_path, straight, repaired):
    """On another machine a training may end earlier, and write none in the place of its last scores."""
    with pytest.raises(KeyboardInterrupt):
        watched(tiny_sequence, tmp_path, Stopping(11))
    folder = RunFolder(next(tmp_path.rglob("run.json")).parent)
    of_longer = "step-2/update-000006.parquet"
    folder.record({of_longer: b"scores"})
    (folder.path / of_longer).write_bytes(b"scores")
    if repaired:
        (folder.path / "step-1" / "adapter.safetensors").write_bytes(b"damaged")
        runner(tiny_sequence, tmp_path, settings=EVERY, checkpoint_every=4, repair=True).execute()
    else:
        watched(tiny_sequence, tmp_path)
    assert (folder.path / "anytime.parquet").read_bytes() == (straight / "anytime.parquet").read_bytes()
    assert of_longer not in folder.read_run()["files"]
    assert not (folder.path / of_longer).exists()


def test_a_run_without_it_keeps_its_digest_and_has_no_such_file(tiny_sequence, tmp_path, finished):
    assert "every" not in runner(tiny_sequence, tmp_path).plan.identity()["sequence"]["evaluation"]
    assert not (finished / "anytime.parquet").exists()
