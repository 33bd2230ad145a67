"""The checks of a reward's images, and the type of its scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ril_bench import registry
from ril_bench.errors import RewardError
from ril_bench.rewards.base import Reward, checked

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
PROMPTS = ["a", "b"]


class Red(Reward):
    name = "red"
    unit = "share"

    def score(self, images, prompts):
        return images[:, 0].mean((1, 2)).double()


@pytest.mark.parametrize(
    ("images", "error", "what"),
    [
        ((IMAGES * 255).byte(), TypeError, "floats in"),
        (IMAGES[0], ValueError, "shape"),
        (IMAGES[:, :1], ValueError, "shape"),
        (IMAGES.movedim(1, 3), ValueError, "shape"),
        (IMAGES[:1], ValueError, "1 images for 2 prompts"),
        (IMAGES * 255, ValueError, "outside"),
        (IMAGES * 2 - 1, ValueError, "outside"),
    ],
)
def test_other_images_are_refused(images, error, what):
    for scorer in (Red(), Red().reference):
        with pytest.raises(error, match=what):
            scorer(images, PROMPTS)


def test_nan_passes_to_whoever_can_name_its_place():
    assert checked(torch.full((1, 3, 2, 2), torch.nan), ["a"]).isnan().all()


def test_scores_are_fp32_and_only_the_call_keeps_a_graph():
    images = IMAGES.clone().requires_grad_()
    scores = Red()(images, PROMPTS)
    assert (scores.dtype, scores.shape, scores.requires_grad) == (torch.float32, (2,), True)
    assert not Red().reference(images, PROMPTS).requires_grad
    assert torch.equal(Red().reference(images, PROMPTS), scores.detach())


@pytest.mark.parametrize("name", registry.names("reward"))
def test_what_ships_says_what_it_is(name):
    reward = registry.load("reward", name)
    assert reward.name == name
    assert reward.unit
    assert reward.direction == (-1 if name == "jpeg_kb" else 1)
    assert reward.differentiable == (name not in ("jpeg_kb", "attributes"))
    assert reward.__doc__


@pytest.mark.parametrize(
    ("scores", "got"),
    [
        (torch.zeros(3, 1), r"a tensor of shape \(3, 1\)"),
        (torch.zeros(()), r"a tensor of shape \(\)"),
        (torch.zeros(2), r"a tensor of shape \(2,\)"),
        ([0.0, 0.0, 0.0], "list"),
        (np.zeros(3), "ndarray"),
        (None, "NoneType"),
        (torch.zeros(3, dtype=torch.complex64), r"a tensor of numbers of the kind torch\.complex64"),
        (torch.zeros(3).to_sparse(), r"a tensor of numbers of the kind torch\.sparse_coo"),
        (torch.zeros(3, device="meta"), r"a tensor of numbers of the kind meta"),
    ],
)
def test_scores_that_are_not_one_number_for_each_image_are_refused(scores, got) -> None:
    class Odd(Reward):
        name, unit = "odd", "none"

        def score(self, images, prompts):
            return scores

    for call in (Odd(), Odd().reference):
        with pytest.raises(RewardError, match=rf"odd returned {got} for 3 images; .* \(3,\)") as caught:
            call(torch.zeros(3, 3, 8, 8), ["x"] * 3)
        assert caught.value.kind == "reward"


def test_no_score_of_the_evaluation_keeps_a_graph():
    class Odd(Reward):
        name, unit = "odd", "none"

        def score(self, images, prompts):
            return images.mean((1, 2, 3)).requires_grad_(True)

    assert not Odd().reference(torch.zeros(3, 3, 8, 8), ["x"] * 3).requires_grad


@pytest.mark.parametrize(
    ("attributes", "what"),
    [
        ({"direction": 0}, "direction is 0"),
        ({"name": 3}, "name is 3"),
        ({"unit": None}, "unit is None"),
        ({"weights": ("a.pt",)}, r"weights is \('a\.pt',\)"),
        ({"weights": Path("a.pt")}, "weights is PosixPath"),
    ],
)
def test_a_class_that_breaks_the_contract_is_refused_when_it_is_defined(attributes, what):
    with pytest.raises(RewardError, match=f"the reward Odd does not fit: {what}") as caught:
        type("Odd", (Reward,), {"name": "odd", "unit": "none", **attributes})
    assert str(caught.value.where).endswith("class Odd")
    assert caught.value.hint


@pytest.mark.parametrize("call", ["__call__", "reference"])
def test_a_reward_that_changes_images_in_place_changes_no_other(call):
    class Clamping(Reward):
        name, unit = "clamping", "levels"

        def score(self, images, prompts):
            scores = images.mean((1, 2, 3))
            images.data.clamp_(0.2, 0.8)
            return scores

    images = torch.rand(3, 3, 8, 8)
    before = images.clone()
    getattr(Clamping(), call)(images, ["a"] * 3)
    assert torch.equal(images, before)
