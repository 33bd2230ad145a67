"""What the stages of the recipe train on."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from ril_bench.worlds.shapes.train import data, repaint
from ril_bench.worlds.shapes.train.common import Recipe
from ril_bench.worlds.shapes.train.denoiser import WEB_CLARITY, web_captions


def test_varied_scenes_keep_their_captions():
    plain = data.scenes(40, seed=1)
    some = data.varied(plain, seed=1, clarity=WEB_CLARITY)
    assert [scene.caption for scene in some] == [scene.caption for scene in plain]
    assert all(WEB_CLARITY[0] <= scene.clarity <= WEB_CLARITY[1] for scene in some)
    assert {len(scene.clutter) for scene in some} == set(range(data.MOST_MARKS + 1))


def test_three_web_captions_in_ten_are_wrong():
    some = data.scenes(2000, seed=2)
    captions = web_captions(some, seed=2)
    wrong = [caption != scene.caption for caption, scene in zip(captions, some, strict=True)]
    # three standard deviations of a share of 2,000
    assert np.mean(wrong) == pytest.approx(0.3, abs=0.031)
    for caption, scene in zip(captions, some, strict=True):
        assert caption.held_out == scene.caption.held_out
        assert (caption.relation is None) == (scene.caption.relation is None)


def test_a_changed_caption_is_another_one_of_its_kind():
    words = random.Random(0)
    for scene in data.scenes(50, seed=3):
        other = data.changed(scene.caption, words)
        assert other != scene.caption
        assert len(other.objects) == len(scene.caption.objects)
        assert all(colour != other.background for colour, _ in other.objects)


def test_one_image_in_six_of_a_pool_is_repainted(shipped_recipe):
    some = data.varied(data.scenes(8, seed=4), seed=4)
    images, renders = repaint.pool(shipped_recipe, some, seed=4), data.rendered8(some)
    same = [torch.equal(a, b) for a, b in zip(images, renders, strict=True)]
    assert same == [False, *[True] * 5, False, True]


def test_repainting_keeps_the_scene(shipped_recipe):
    """A repainted image is nearer to its own render than to that of another scene."""
    some = data.scenes(6, seed=5)
    images = repaint.repainted(shipped_recipe, some, seed=5).float() / 255
    error = (images[:, None] - data.rendered(some)[None]).abs().mean(dim=(2, 3, 4))
    assert error.argmin(1).tolist() == list(range(6))
    assert torch.equal(images, repaint.repainted(shipped_recipe, some, seed=5).float() / 255)


@pytest.fixture(scope="module")
def shipped_recipe():
    from ril_bench.worlds.shapes import WEIGHTS

    return Recipe(WEIGHTS)
