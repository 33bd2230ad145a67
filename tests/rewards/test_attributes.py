from __future__ import annotations

import numpy as np
import pytest
import torch

from ril_bench.errors import UserError
from ril_bench.worlds.shapes.captions import parse, prompts
from ril_bench.worlds.shapes.classifier import QUESTIONS, labels, load_classifier
from ril_bench.worlds.shapes.renderer import compose, render_all
from ril_bench.worlds.shapes.rewards import Attributes


@pytest.fixture(scope="module")
def eval_prompts():
    return list(prompts("eval"))


@pytest.fixture(scope="module")
def renders(eval_prompts):
    rng = np.random.default_rng(1)
    return torch.from_numpy(render_all([compose(parse(text), rng) for text in eval_prompts]))


@pytest.fixture(scope="module")
def probe():
    return Attributes()


def test_renders_of_unseen_combinations_show_what_their_caption_says(probe, eval_prompts, renders):
    right = probe.classifier.correct(renders, [parse(text) for text in eval_prompts]).float()
    assert (right.mean(0) >= 0.97).all(), dict(zip(QUESTIONS, right.mean(0).tolist(), strict=True))
    assert float(right.mean()) >= 0.99
    assert torch.equal(probe(renders, eval_prompts), right.mean(1))


def test_each_wrong_attribute_costs_its_share(probe):
    rng = np.random.default_rng(2)
    shown = "a large red circle on a striped blue background"
    image = torch.from_numpy(render_all([compose(parse(shown), rng)]))
    expected_scores = {
        shown: 1.0,
        "a small red circle on a striped blue background": 7 / 8,
        "a small green circle on a striped blue background": 6 / 8,
        "a small green star on a plain white background": 3 / 8,
    }
    for prompt, expected in expected_scores.items():
        assert probe(image, [prompt]).item() == pytest.approx(expected)


def test_noise_is_not_what_the_prompt_says(probe, eval_prompts):
    noise = torch.rand(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert probe(noise, eval_prompts[:64]).mean() < 0.6


def test_prompts_of_another_world_are_refused(probe, renders):
    with pytest.raises(UserError, match="shapes world only") as caught:
        probe(renders[:1], ["a photo of a cat"])
    assert "leave attributes out" in str(caught.value)


def test_the_classifier_is_frozen_and_gives_the_features_of_fid(renders):
    classifier = load_classifier()
    assert not classifier.training
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    features = classifier.features(renders[:5])
    assert features.shape == (5, 64)
    assert torch.allclose(
        features, torch.cat([classifier.features(renders[i : i + 1]) for i in range(5)]), atol=1e-4
    )


def test_labels_are_positions_among_the_answers(eval_prompts):
    captions = [parse(text) for text in eval_prompts[:9]]
    found = labels(captions)
    assert found.shape == (9, len(QUESTIONS))
    for row, caption in zip(found, captions, strict=True):
        colour, shape = caption.objects[0]
        assert QUESTIONS["colour_a"][row[1]] == colour
        assert QUESTIONS["shape_a"][row[0]] == shape
        assert QUESTIONS["background"][row[-1]] == caption.background
