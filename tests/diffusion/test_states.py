"""Visited states, compared with the rollout of the sampler."""

from __future__ import annotations

import pytest
import torch

from ril_bench.diffusion import states
from ril_bench.diffusion.sampler import sample
from ril_bench.diffusion.states import visited
from ril_bench.draws import Draws
from tests.tiny import PROMPTS


@pytest.fixture
def model(tiny_model):
    tiny_model.add_adapter("one", seed_key=(0,))
    tiny_model.activate({"one": 1.0}, train=["one"])
    with torch.no_grad():
        for parameter in tiny_model.parameters():
            parameter.add_(0.05)
    return tiny_model


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_each_is_where_its_rollout_passes(model, eta):
    ddim, draws = model.sampler(5, eta), Draws((1,), range(4))
    passed: dict[int, torch.Tensor] = {}
    sample(model, ddim, PROMPTS, draws, guidance=3.0, grad_steps=range(5),
           on_grad_step=lambda p: passed.setdefault(p.step, p.x_t))  # fmt: skip
    found = list(visited(model, ddim, PROMPTS, draws, 3.0))
    assert [state.prediction.prompts for state in found] == [[prompt] for prompt in PROMPTS]
    for k, state in enumerate(found):
        expected = passed[state.prediction.step][k : k + 1]
        torch.testing.assert_close(state.prediction.x_t, expected, atol=3e-5, rtol=1e-5)
        assert state.prediction.t == ddim.timesteps[state.prediction.step]


def test_steps_differ_and_so_do_directions(model):
    found = list(visited(model, model.sampler(5, 1.0), PROMPTS * 5, Draws((1,), range(20)), 1.0))
    assert {state.prediction.step for state in found} == set(range(5))
    noise = torch.cat([state.noise for state in found])
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    assert len({float(direction.sum()) for direction in noise}) == 20


def test_the_same_whatever_the_batch(model, monkeypatch):
    ddim, draws = model.sampler(3, 1.0), Draws((1,), range(4))
    whole = list(visited(model, ddim, PROMPTS, draws, 3.0))
    monkeypatch.setattr(states, "BATCH", 3)
    parts = list(visited(model, ddim, PROMPTS, draws, 3.0))
    for state, again in zip(whole, parts, strict=True):
        assert torch.equal(state.noise, again.noise)
        torch.testing.assert_close(state.prediction.output, again.prediction.output, atol=1e-5, rtol=1e-5)


def test_a_prediction_has_its_own_samples_gradient(model):
    (state, *_) = visited(model, model.sampler(3, 1.0), PROMPTS[:1], Draws((1,), range(1)), 3.0)
    gradients = torch.autograd.grad((state.noise * state.prediction.output).sum(), model.parameters())
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_without_autograd_they_could_not_have_one(model):
    with torch.no_grad(), pytest.raises(RuntimeError, match="gradient"):
        next(visited(model, model.sampler(3, 1.0), PROMPTS[:1], Draws((1,), range(1)), 3.0))
