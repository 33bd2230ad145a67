"""The conformance suite of rewards.

Shipped rewards pass the suite. The suite reports each broken reward with a different message.
"""

from __future__ import annotations

import pytest

from ril_bench.conformance.reward import check_reward

SOURCE = '''
import torch
from ril_bench import Reward

class Mine(Reward):
    """The mean of an image's pixels."""

    name, unit = "mine", "parts"
    {attributes}

    def score(self, images, prompts):
        {score}
'''
NO_SCORE = ""
BROKEN = {  # attributes, the body of score, the fault, the hint
    "no unit": ("del unit", "return images.mean(dim=(1, 2, 3))", "states no unit", "write unit"),
    "direction": (
        "direction = 2",
        "return images.mean(dim=(1, 2, 3))",
        "direction is 2",
        "write +1",
    ),
    "shape": (
        "",
        "return images.mean(dim=(1, 2))",
        "of 3 images have the shape or type (3, 64), not (3,)",
        "one score for each image",
    ),
    "no tensor": ("", "return 1.0", "have the shape or type float", "one score for each image"),
    "not finite": ("", "return 1 / images.mean(dim=(1, 2, 3))", "black images is not finite", "away from 0"),
    "random": (
        "",
        "return images.mean(dim=(1, 2, 3)) + torch.rand(len(images))",
        "two calls differ",
        "at random",
    ),
    "batch": (
        "",
        "return images.mean(dim=(1, 2, 3)) - images.mean()",
        "images get other scores one at a time",
        "row i of the scores",
    ),
    "order": (
        "",
        "return images.mean(dim=(1, 2, 3)) * torch.arange(1, len(images) + 1)",
        "images get other scores in another order",
        "row i of the scores",
    ),
    "no graph": (
        "",
        "return images.detach().mean(dim=(1, 2, 3))",
        "keeps no graph",
        "differentiable = False",
    ),
    "a graph of its own": (
        "",
        "return images.detach().mean(dim=(1, 2, 3)).requires_grad_()",
        "keeps no graph",
        "differentiable = False",
    ),
    "no slope": ("", "return images.round().mean(dim=(1, 2, 3))", "its gradient is zero", "smooth"),
    "root": (
        "",
        "return (images - images.detach()).abs().sum(dim=(1, 2, 3)).sqrt()",
        "its gradient is not finite",
        "away from 0",
    ),
    "another name": (
        "def reference_score(self, images, prompts): return images.mean(dim=(1, 2, 3))",
        NO_SCORE,
        "has no method `score`",
        "write def score(self, images, prompts)",
    ),
    "grad mode": (
        "",
        "torch.set_grad_enabled(False); return images.mean(dim=(1, 2, 3))",
        "leaves a state changed after score: grad mode is False",
        "inside a `with` block",
    ),
    "arguments": ("", "return self.score(images)", "TypeError", "the line that is named"),
    "error": ("", "return images.missing", "AttributeError", "the line that is named"),
}


def faults(reference: str) -> list[tuple[str, str]]:
    return [(result.fault, result.hint) for result in check_reward(reference) if result.fault]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_reward_is_caught_with_its_own_message(name, tmp_path):
    attributes, score, fault, hint = BROKEN[name]
    file = tmp_path / "mine.py"
    source = SOURCE.format(attributes=attributes, score=score)
    if score == NO_SCORE:
        source = source.partition("    def score")[0]
    file.write_text(source)
    found = faults(str(file))
    assert any(fault in what and hint in advice for what, advice in found), found


def test_a_reward_that_changes_its_prompts_is_scored_with_the_right_ones(tmp_path):
    file = tmp_path / "mine.py"
    body = "prompts[:] = ['x'] * len(prompts); return images.mean(dim=(1, 2, 3))"
    file.write_text(SOURCE.format(attributes="", score=body))
    assert faults(str(file)) == []


@pytest.mark.parametrize(
    "name", ["brightness", "symmetry", "colorfulness", "compressibility", "jpeg_kb", "attributes"]
)
def test_shipped_rewards_pass(name):
    results = list(check_reward(name))
    assert [result.fault for result in results] == [None] * 7


def test_a_reward_without_its_weights_is_checked_as_far_as_possible():
    results = list(check_reward("hpsv2.1"))
    assert [result.fault for result in results] == [None, None]
    assert results[-1].note.startswith("score not checked, because these files are not on this machine: ")
