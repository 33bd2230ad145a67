"""The recipe of the flow-matching model."""

from __future__ import annotations

import pytest
import torch

from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.worlds.shapes import WEIGHTS
from ril_bench.worlds.shapes.train import flow
from ril_bench.worlds.shapes.train.common import Recipe

PROMPTS = ["a large red circle on a blue background", ""]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The folder of a recipe that has the shipped autoencoder and words."""
    folder = tmp_path_factory.mktemp("flow")
    (folder / "pipeline").symlink_to(WEIGHTS / "pipeline", target_is_directory=True)
    return Recipe(folder)


@pytest.fixture(scope="module")
def saved(recipe):
    """The model of random weights that the recipe saves, its tokenizer, and its text encoder in memory."""
    words = flow.CLIPTokenizer.from_pretrained(recipe.pipeline / "tokenizer")
    torch.manual_seed(0)
    encoder = flow.build_text_encoder(words).eval()
    flow.save(flow.build_transformer(), encoder, recipe)
    model = DiffusionModel.load(recipe.flow_pipeline, adapter=AdapterSpec(2, 2.0, ("to_q", "add_q_proj")))
    return model, words, encoder


def test_a_run_embeds_prompts_as_the_training_does(saved):
    model, words, encoder = saved
    ids = torch.tensor(words(PROMPTS, padding="max_length", truncation=True)["input_ids"])
    with torch.no_grad():
        tokens, pooled = flow.embedded(encoder, ids)
    found = model._texts(PROMPTS)
    torch.testing.assert_close(found.tokens, tokens, rtol=1e-2, atol=1e-2)  # half precision on disk
    torch.testing.assert_close(found.pooled, pooled, rtol=1e-2, atol=1e-2)
    assert tokens.std() > 0.1


def test_it_is_as_large_as_the_unet_and_begins_at_zero(saved, recipe):
    model, _, _ = saved
    unet = DiffusionModel.load(recipe.pipeline, adapter=AdapterSpec(2, 2.0, ("to_q",)))
    sizes = [sum(p.numel() for p in one.denoiser.parameters()) for one in (model, unet)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
    assert model.latent_shape == unet.latent_shape
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    assert not model.predict(x, 500.0, PROMPTS, 1.0).any()


def test_its_densities_do_not_hang_on_the_last_two_steps(saved):
    """A divergence or a log-probability weighs a step by b / sigma. With diffusers' own last step it is 143."""
    sampler = saved[0].sampler(8, 1.0)
    assert sampler.level[7] == pytest.approx(flow.LAST)
    assert max(abs(b / sigma) for b, sigma in zip(sampler.b, sampler.sigma, strict=True)) < 4
