"""The tastes of images as the classifier reads them, against the tastes of the scenes of renders."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from ril_bench.worlds.shapes import reading, tastes
from ril_bench.worlds.shapes.captions import draw, prompts
from ril_bench.worlds.shapes.classifier import NOTHING, QUESTIONS
from ril_bench.worlds.shapes.renderer import compose, render_all

NUMBER = 64


@pytest.fixture(scope="module")
def scenes():
    rng, numbers = random.Random(1), np.random.default_rng(1)
    return [compose(draw(rng, held_out=True, two=k % 3 == 0), numbers) for k in range(NUMBER)]


@pytest.fixture(scope="module")
def images(scenes):
    return (torch.from_numpy(render_all(scenes)) * 255).round().byte()


def test_renders_are_read_as_their_captions(scenes, images):
    found = reading.read_captions(images)
    assert sum(a == scene.caption for a, scene in zip(found, scenes, strict=True)) >= 0.9 * NUMBER


@pytest.mark.parametrize("seed", range(20))
def test_every_answer_gives_a_caption_of_the_grammar(seed):
    numbers = torch.Generator().manual_seed(seed)
    logits = {q: torch.randn(len(options), generator=numbers) for q, options in QUESTIONS.items()}
    caption = reading._caption(logits)
    words = [word for pair in caption.objects for word in pair]
    assert NOTHING not in [*words, caption.texture, caption.background, caption.size, caption.relation]
    assert (caption.relation is None) == (len(caption.objects) == 1) == (caption.size is not None)


def test_the_tastes_of_renders_rank_as_the_tastes_of_their_scenes(scenes, images):
    asked = list(prompts("eval")[:NUMBER])
    asked[::2] = [str(scene.caption) for scene in scenes[::2]]
    found = reading.tastes_of(images, asked)
    exact = {
        "aesthetic": [tastes.aesthetic(scene) for scene in scenes],
        "preference": [
            tastes.preference(scene, reading.parse(prompt))
            for scene, prompt in zip(scenes, asked, strict=True)
        ],
    }
    assert found.keys() == exact.keys()
    for name, expected in exact.items():
        assert found[name].shape == (NUMBER,)
        assert spearmanr(found[name], expected).statistic > 0.9


def test_a_prompt_outside_the_grammar_has_no_taste(images):
    assert reading.tastes_of(images[:2], ["a photo of a cat", prompts("eval")[0]]) == {}
