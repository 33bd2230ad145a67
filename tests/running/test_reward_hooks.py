"""Rewards that leave a run in another state, or change what they get: the failure names file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ril_bench.errors import RewardError
from tests.running.left_states import LEFT_ON, STATES
from tests.running.stopping import status
from tests.tiny import runner, write_sequence

pytestmark = pytest.mark.usefixtures("nothing_is_left")

REWARD = """
import os, torch
from ril_bench import Reward

class Mine(Reward):
    name, unit = "mine", "levels"

    def HOOK(self, images, prompts):
        CODE
        return images.mean((1, 2, 3))
"""


def reward_sequence(tiny_data: dict[str, Any], folder: Path, hook: str, code: str, **changes: Any) -> str:
    (folder / "mine.py").write_text(REWARD.replace("HOOK", hook).replace("CODE", code))
    tasks = [{"reward": str(folder / "mine.py")}]
    return write_sequence(folder / "mine.yaml", tiny_data, tasks=tasks, **changes)


@pytest.mark.parametrize("code", list(STATES)[:4])
def test_a_state_that_a_reward_leaves_changed(tiny_data: dict[str, Any], tmp_path: Path, code: str) -> None:
    failing = runner(reward_sequence(tiny_data, tmp_path, "score", code), tmp_path / "out")
    with pytest.raises(RewardError, match=LEFT_ON) as caught:
        failing.execute()
    if "grad" not in code:  # the evaluation's own grad mode is another
        assert STATES[code] in caught.value.what
    assert caught.value.where == f"{tmp_path / 'mine.py'}:8"
    assert status(failing.folder.path)["failure"]["class"] == "reward"


def test_a_reward_without_score(tiny_data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="the reward mine has no method `score`") as caught:
        runner(reward_sequence(tiny_data, tmp_path, "reference_score", "pass"), tmp_path / "out").execute()
    assert "mine.py" in str(caught.value.where)
    assert "def score" in str(caught.value.hint)


def test_a_reward_whose_graph_has_run_already(tiny_data: dict[str, Any], tmp_path: Path) -> None:
    code = "images = images.square(); images.requires_grad and images.mean().backward(retain_graph=False)"
    with pytest.raises(RewardError, match="its graph holds the score of mine") as caught:
        runner(reward_sequence(tiny_data, tmp_path, "score", code), tmp_path / "out").execute()
    assert caught.value.where == f"{tmp_path / 'mine.py'}:8"


def test_a_reward_with_other_arguments(tiny_data: dict[str, Any], tmp_path: Path) -> None:
    sequence = reward_sequence(tiny_data, tmp_path, "score", "pass")
    file = tmp_path / "mine.py"
    file.write_text(file.read_text().replace("images, prompts", "images"))
    with pytest.raises(RewardError, match=r"failed: TypeError.*\(in score\)") as caught:
        runner(sequence, tmp_path / "out").execute()
    assert caught.value.where == f"{file}:8"


REPLACES = "prompts[:] = ['x'] * len(prompts)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tuner", "code"),
    [
        ("ddpo", "prompts.clear()"),
        ("ddpo", "images.zero_(); prompts.reverse()"),
        *((tuner, REPLACES) for tuner in ("draft", "refl", "dpo", "ddpo", "nft", "crd")),
    ],
)
def test_a_reward_that_changes_what_it_gets_changes_nothing_else(
    tiny_data: dict[str, Any], tmp_path: Path, tuner: str, code: str
) -> None:
    """Two rewards with the same scores train the same adapter."""
    adapters = []
    for k, change in enumerate((code, "pass")):
        (folder := tmp_path / f"{k}").mkdir()
        body = f"value = images.mean((1, 2, 3)); images = images.clone(); {change}\n        return value"
        sequence = reward_sequence(tiny_data, folder, "score", body, tuner={"name": tuner})
        done = runner(sequence, folder / "out", settings=["budget.updates=1"]).execute()
        adapters.append((done / "step-1" / "adapter.safetensors").read_bytes())
    assert adapters[0] == adapters[1]


def test_a_reward_that_uses_the_memory_of_its_scores_again(tiny_data: dict[str, Any], tmp_path: Path) -> None:
    code = """
        if not hasattr(self, "_kept"):
            self._kept = {}
        kept = self._kept.setdefault(len(images), torch.zeros(len(images)))
        if torch.is_grad_enabled(): return images.mean((1, 2, 3))
        return kept.copy_(images.mean((1, 2, 3)))"""
    scores = []
    for k, body in enumerate((code, "pass")):
        (folder := tmp_path / f"{k}").mkdir()
        sequence = reward_sequence(tiny_data, folder, "score", body)
        done = runner(sequence, folder / "out", settings=["budget.updates=1"]).execute()
        scores.append((done / "matrix.csv").read_bytes())
    assert scores[0] == scores[1]
