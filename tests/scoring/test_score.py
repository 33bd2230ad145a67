"""Metrics of the scores of a run folder that is written by hand; its numbers can be computed on paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.scoring.score import scale, score_array, score_run
from ril_bench.sequences.calibrations import load_calibration
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage.run_folder import RunFolder, parquet_bytes
from tests.scoring.by_hand import RESOURCES, SIGMA, SIGMA_2, SIZES, read
from tests.tiny import runner


def test_metrics_in_the_unit_of_the_rewards(hand_made):
    score_run(hand_made)
    raw = read(hand_made)["continual"]["raw"]
    assert raw["N"] == [[102, -10], [108, -12], [105, -6]]
    assert raw["FINAL"] == pytest.approx((105 - 6) / 2)
    assert raw["WORST"] == -6
    assert raw["BWT"] == pytest.approx(105 - 108)
    assert raw["FWT"] == pytest.approx(-12 + 10)  # symmetry just before it was trained
    assert raw["FORGET"] == pytest.approx(108 - 105)


def test_metrics_in_standard_deviations_over_prompts(hand_made):
    z = score_run(hand_made)["continual"]["z"]
    expected = [[0, 0], [6 / SIGMA, -2 / SIGMA_2], [3 / SIGMA, 4 / SIGMA_2]]
    np.testing.assert_allclose(z["N"], expected)
    assert z["FINAL"] == pytest.approx((3 / SIGMA + 4 / SIGMA_2) / 2)
    assert z["LEARN"] == pytest.approx((6 / SIGMA + 6 / SIGMA_2) / 2)  # differences to the row before


def test_retention_is_the_share_of_its_gain_that_a_reward_kept(hand_made):
    """Brightness rises by 6 in its task, and 3 of them are left; nothing follows the task of symmetry."""
    metrics = score_run(hand_made)
    assert metrics["retain"] == pytest.approx({"brightness": 3 / 6, "symmetry": 1.0})
    assert metrics["retain_excluded"] == []


def test_a_reward_that_gained_less_than_twice_its_standard_error_has_no_retention(hand_made):
    """Gains of 0 and 6 on the two prompts: a mean of 3, with a standard error of 3."""
    scores = pd.read_parquet(hand_made / "scores.parquet")
    changed = (scores["step"] == 1) & (scores["reward"] == "brightness") & (scores["prompt_id"] == "000")
    scores.loc[changed, "score"] = 100.0
    RunFolder(hand_made).write_bytes("scores.parquet", parquet_bytes(scores))
    score_run(hand_made)
    metrics = read(hand_made)
    assert metrics["retain"] == {"brightness": None, "symmetry": pytest.approx(1.0)}
    assert metrics["retain_excluded"] == ["brightness"]


def test_metrics_state_the_rewards_with_their_units_and_directions(hand_made):
    metrics = score_run(hand_made)
    assert metrics["rewards"] == ["brightness", "symmetry"]
    assert metrics["units"] == dict.fromkeys(metrics["rewards"], "grey levels")
    assert metrics["directions"] == dict.fromkeys(metrics["rewards"], 1)


def test_with_a_calibration_metrics_are_shares_of_the_gain_of_single_task_tuning(hand_made):
    rewards = {
        "brightness": {"b": 101.0, "u": 113.0, "sigma": 3.0},
        "symmetry": {"b": -10.0, "u": -2.0, "sigma": 1.0},
    }
    for entry in rewards.values():
        entry |= {"direction": 1, "unit": "grey levels", "se": 0.1, "seeds": [entry["u"]] * 3}
    content = {"sequence": "tiny", "version": 1, "made_with": {}, "rewards": rewards}
    calibration = {"file": "tiny.calibration.json", "sha256": "0" * 64, "content": content}
    RunFolder(hand_made).update_run(calibration=calibration)
    metrics = score_run(hand_made)
    expected = [[1 / 12, 0], [7 / 12, -2 / 8], [4 / 12, 4 / 8]]
    np.testing.assert_allclose(metrics["continual"]["normalised"]["N"], expected)
    assert read(hand_made)["calibration"] == {"file": "tiny.calibration.json", "sha256": "0" * 64}
    assert not any("no calibration" in note for note in metrics["notes"])
    del rewards["symmetry"]  # a calibration that does not cover every task is not used
    RunFolder(hand_made).update_run(calibration=calibration)
    assert score_run(hand_made)["continual"]["normalised"] is None


def test_rewards_of_different_units_are_not_averaged(hand_made):
    folder = RunFolder(hand_made)
    run = folder.read_run()
    run["sequence"]["tasks"][1]["reward"] = "jpeg_kb"
    folder.update_run(sequence=run["sequence"])
    scores = pd.read_parquet(hand_made / "scores.parquet").replace({"reward": {"symmetry": "jpeg_kb"}})
    folder.write_bytes("scores.parquet", parquet_bytes(scores))
    metrics = score_run(hand_made)
    raw = metrics["continual"]["raw"]
    np.testing.assert_allclose(raw["N"], [[102, 10], [108, 12], [105, 6]])  # signed: fewer kB are better
    assert raw["FINAL"] is None
    assert raw["BWT"] is None
    assert metrics["directions"]["jpeg_kb"] == -1
    assert metrics["continual"]["z"]["FINAL"] is not None


# Scores inside the tasks, for each prompt: brightness rises twice in task 1, and falls in task 2.
INSIDE = [
    (1, 1, {"brightness": (102, 106), "symmetry": (-11, -9)}),
    (1, 2, {"brightness": (104, 108), "symmetry": (-12, -10)}),
    (2, 1, {"brightness": (98, 102), "symmetry": (-10, -8)}),
    (2, 2, {"brightness": (101, 105), "symmetry": (-8, -6)}),
]


def write_inside(folder: Path) -> None:
    rows = [
        (step, update, name, f"{p:03d}", 0, float(score), True)
        for step, update, rewards in reversed(INSIDE)  # the order of rows does not matter
        for name, scores in rewards.items()
        for p, score in enumerate(scores)
    ]
    columns = ["step", "update", "reward", "prompt_id", "sample", "score", "trained"]
    RunFolder(folder).write_bytes("anytime.parquet", parquet_bytes(pd.DataFrame(rows, columns=columns)))


class TestAnytime:
    def test_without_evaluations_inside_tasks_there_are_no_anytime_metrics(self, hand_made):
        score_run(hand_made)
        assert read(hand_made)["anytime"] is None

    def test_anytime_metrics_use_the_evaluations_inside_tasks_and_at_their_ends(self, hand_made):
        write_inside(hand_made)
        sequence = RunFolder(hand_made).read_run()["sequence"]
        sequence["evaluation"]["every"] = 1
        RunFolder(hand_made).update_run(sequence=sequence)
        found = score_run(hand_made)["anytime"]
        assert found["every"] == 1
        assert found["normalised"] is None
        # Means over prompts, minus those of step 0, (102, -10). Brightness: 2, 4, and 6 at the end of task 1;
        # -2, 1, and 3 at the end of task 2.
        brightness = np.array([2, 4, 6, -2, 1, 3]) / SIGMA
        symmetry = np.array([0, -1, -2, 1, 3, 4]) / SIGMA_2
        both = (brightness + symmetry) / 2
        assert found["z"]["AAA"] == pytest.approx(np.mean([*brightness[:3], *both[3:]]))
        assert found["z"]["MINPERF"] == pytest.approx(-2 / SIGMA)
        assert found["z"]["WC-ACC"] == pytest.approx((4 / SIGMA_2 - 2 / SIGMA) / 2)
        assert found["z"]["MINPERF_floor"] == pytest.approx(0)  # prompts differ by one constant everywhere

    def test_an_unfinished_run_has_no_anytime_metrics(self, hand_made):
        write_inside(hand_made)
        scores = pd.read_parquet(hand_made / "scores.parquet")
        RunFolder(hand_made).write_bytes("scores.parquet", parquet_bytes(scores[scores["step"] < 2]))
        assert score_run(hand_made)["anytime"] is None


def test_totals_and_sizes(hand_made):
    resources = score_run(hand_made)["resources"]
    assert {key: resources[key] for key in RESOURCES} == dict.fromkeys(RESOURCES, 6)
    assert {key: resources[key] for key in SIZES} == dict.fromkeys(SIZES, 7)


def test_the_peak_of_a_run_is_that_of_its_largest_step_and_its_sizes_are_those_of_the_last(hand_made):
    steps = RunFolder(hand_made).read_run()["steps"]
    for step, peak, size in zip(steps, (3, 9, 5), (0, 4, 2), strict=True):
        step |= dict.fromkeys(SIZES, size) | {"peak_memory_bytes": peak}
    RunFolder(hand_made).update_run(steps=steps)
    resources = score_run(hand_made)["resources"]
    assert resources["peak_memory_bytes"] == 9
    assert {resources[key] for key in SIZES} == {2}


def test_an_unfinished_run_has_no_continual_metrics(hand_made):
    scores = pd.read_parquet(hand_made / "scores.parquet")
    RunFolder(hand_made).write_bytes("scores.parquet", parquet_bytes(scores[scores["step"] < 2]))
    metrics = score_run(hand_made)
    assert metrics["continual"] == {"raw": None, "z": None, "normalised": None}
    assert metrics["retain"] == {"brightness": None, "symmetry": None}
    assert any("2 of 3 steps" in note for note in metrics["notes"])
    assert [entry["step"] for entry in metrics["structure"]["steps"]] == [1]


def test_scoring_again_gives_the_same_file(tiny_sequence, tmp_path):
    folder = runner(tiny_sequence, tmp_path).execute()
    before = (folder / "metrics.json").read_bytes()
    score_run(folder)
    assert (folder / "metrics.json").read_bytes() == before


def test_missing_files_are_reported(hand_made, tmp_path):
    (hand_made / "step-1" / "images" / "000-0.png").unlink()
    with pytest.raises(UserError, match="different images"):
        score_run(hand_made)
    (hand_made / "scores.parquet").unlink()
    with pytest.raises(UserError, match="no scores yet"):
        score_run(hand_made)
    with pytest.raises(UserError, match=r"no run\.json"):
        score_run(tmp_path)


def test_the_samples_of_a_prompt_are_averaged():
    rows = [
        (step, reward, prompt, sample, 100 * step + 10 * (reward == "b") + prompt + sample)
        for step in (0, 1)
        for reward in ("b", "a")
        for prompt in (0, 1, 2)
        for sample in (0, 2)
    ]
    scores = pd.DataFrame(rows, columns=["step", "reward", "prompt_id", "sample", "score"])
    found = score_array(scores, ["a", "b"])
    expected = [[[100 * s + 10 * r + p + 1 for p in range(3)] for r in (0, 1)] for s in (0, 1)]
    np.testing.assert_array_equal(found, expected)


CALIBRATED = [file.name.partition(".")[0] for file in registry.shipped("tasks").glob("*.calibration.json")]


def test_the_flagship_is_calibrated():
    assert "shapes-ril" in CALIBRATED


@pytest.mark.parametrize("name", CALIBRATED)
def test_rewards_of_a_calibrated_sequence_can_be_learned(name):
    sequence = load_sequence(name)
    calibration = load_calibration(sequence)
    assert calibration is not None
    assert set(sequence.rewards) <= set(calibration.rewards)
    assert scale(calibration, sequence.order) is not None
