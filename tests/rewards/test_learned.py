"""The learned rewards: differentiable against published scores, and what they learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ril_bench.rewards.aesthetic import AestheticHead
from ril_bench.rewards.base import Reward
from ril_bench.worlds.shapes import tastes
from ril_bench.worlds.shapes.captions import parse, prompts
from ril_bench.worlds.shapes.renderer import compose, render_all
from ril_bench.worlds.shapes.rewards import ShapesAesthetic, ShapesClipScore, ShapesPreference

LEARNED = [ShapesAesthetic, ShapesPreference, ShapesClipScore]


@pytest.fixture(scope="module")
def eval_prompts():
    return list(prompts("eval")[:48])


@pytest.fixture(scope="module")
def scenes(eval_prompts):
    rng = np.random.default_rng(3)
    return [compose(parse(text), rng) for text in eval_prompts]


@pytest.fixture(scope="module")
def renders(scenes):
    """8-bit images, as in the evaluation."""
    return (torch.from_numpy(render_all(scenes)) * 255).round() / 255


class Loaded(dict[type[Reward], Reward]):
    """Each reward, loaded when it is first asked for."""

    def __missing__(self, kind: type[Reward]) -> Reward:
        self[kind] = kind()
        return self[kind]


@pytest.fixture(scope="module")
def loaded():
    return Loaded()


@pytest.fixture(params=LEARNED, ids=lambda kind: kind.name)
def reward(request, loaded):
    return loaded[request.param]


def test_the_differentiable_score_is_the_published_one(reward, renders, eval_prompts):
    found, published = reward(renders, eval_prompts), reward.reference(renders, eval_prompts)
    assert (found - published).abs().max() < 0.02 * published.std()


def test_the_gap_stays_small_on_images_of_another_size(reward, renders, eval_prompts):
    large = nn.functional.interpolate(renders, (160, 160), mode="bilinear").clamp(0, 1)
    found, published = reward(large, eval_prompts), reward.reference(large, eval_prompts)
    assert (found - published).abs().mean() < 0.1 * published.std()


def test_the_gradient_reaches_every_image_and_no_weight(reward, renders, eval_prompts):
    images = renders[:4].clone().requires_grad_()
    reward(images, eval_prompts[:4]).sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad.abs().amax((1, 2, 3)).min() > 0
    modules = [module for module in vars(reward).values() if isinstance(module, nn.Module)]
    for module in [*modules, reward.clip.model]:
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_a_score_is_of_its_own_image_and_prompt(reward, renders, eval_prompts):
    whole = reward(renders[:6], eval_prompts[:6])
    alone = torch.cat([reward(renders[i : i + 1], eval_prompts[i : i + 1]) for i in range(6)])
    assert torch.allclose(whole, alone, atol=1e-4, rtol=1e-4)
    other = reward(renders[:6], eval_prompts[6:12])
    assert torch.equal(whole, other) == isinstance(reward, ShapesAesthetic)  # it does not read the prompt


def test_a_prompt_is_embedded_once(loaded, renders, eval_prompts):
    clip = loaded[ShapesClipScore].clip
    clip._text.cache_clear()
    clip.prompts([eval_prompts[0]] * 5)
    assert clip._text.cache_info().misses == 1
    assert clip.prompts(eval_prompts[:2]).shape == clip.images(renders[:2]).shape


def test_embeddings_have_length_one(loaded, renders, eval_prompts):
    clip = loaded[ShapesPreference].clip
    for embedding in (clip.images(renders), clip.reference_images(renders), clip.prompts(eval_prompts)):
        assert embedding.norm(dim=1).allclose(torch.ones(len(embedding)), atol=1e-5)


def test_the_aesthetic_reward_has_learned_its_taste(loaded, renders, scenes, eval_prompts):
    rated = [tastes.aesthetic(scene) for scene in scenes]
    assert np.corrcoef(loaded[ShapesAesthetic](renders, eval_prompts).numpy(), rated)[0, 1] > 0.8


@pytest.mark.parametrize("kind", [ShapesPreference, ShapesClipScore], ids=lambda kind: kind.name)
def test_the_prompt_of_an_image_scores_higher_than_another_prompt(kind, loaded, renders, eval_prompts):
    own, shuffled = (
        loaded[kind](renders, texts) for texts in (eval_prompts, eval_prompts[1:] + eval_prompts[:1])
    )
    assert (own > shuffled).float().mean() > 0.85


def test_the_probe_shares_nothing_with_the_rewards(loaded):
    probe, rewards = (
        load_file(kind.weights[0] / "open_clip_model.safetensors")
        for kind in (ShapesClipScore, ShapesAesthetic)
    )
    assert ShapesAesthetic.weights[0] == ShapesPreference.weights[0] != ShapesClipScore.weights[0]
    matrices = [name for name, weight in probe.items() if weight.ndim > 1]
    assert matrices
    assert not any(torch.equal(probe[name], rewards[name]) for name in matrices)


def test_laions_head_is_one_linear_map():
    head = AestheticHead(8).eval()
    layers = [module for module in head.layers if isinstance(module, nn.Linear)]
    assert [layer.out_features for layer in layers] == [1024, 128, 64, 16, 1]
    assert {key for key in head.state_dict() if key.endswith("weight")} == {
        f"layers.{i}.weight" for i in (0, 2, 4, 6, 7)
    }
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    weight, bias = torch.eye(8), torch.zeros(8)
    for layer in layers:
        weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
    assert torch.allclose(head(x), x @ weight.T + bias, atol=1e-5)
