"""A cap on the reward, in every tuner that differentiates the reward."""

import pytest
import torch

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.tuners.alignprop import Alignprop
from ril_bench.tuners.base import capped_loss
from tests.toy import ToyModel, colourful, relative_gap, toy_task, update

OPTIONS = {
    "nabla_gflownet": {"beta": 0.3, "flow": False, "residual": False},
    "adjoint_matching": {"beta": 0.3},
}
DIFFERENTIATING = [
    name for name in registry.names("tuner") if "reward_gradient" in registry.load("tuner", name).needs
]


def gradients(name, reward=colourful, **options):
    model, task = ToyModel(), toy_task(6, reward=reward)
    tuner = registry.load("tuner", name)(**OPTIONS.get(name, {}), **options)
    tuner.start_task(task, model)
    return update(model, task, tuner)[0]


def test_scores_above_the_cap_have_no_gradient():
    reward = torch.tensor([0.5, 1.5, 2.5], requires_grad=True)
    assert capped_loss(reward, 1.0).tolist() == [0.5, 0.0, 0.0]
    assert torch.autograd.grad(capped_loss(reward, 2.0).sum(), reward)[0].tolist() == [-1.0, -1.0, 0.0]
    assert capped_loss(reward, None).tolist() == [-0.5, -1.5, -2.5]


@pytest.mark.parametrize("name", DIFFERENTIATING)
class TestEveryTuner:
    def test_a_cap_below_all_scores_leaves_no_reward(self, name):
        below = gradients(name, cap=-1e3)
        nothing = gradients(name, reward=lambda images, prompts: 0 * colourful(images, prompts))
        assert all(torch.equal(a, b) for a, b in zip(below, nothing, strict=True))

    def test_a_cap_above_all_scores_changes_nothing(self, name):
        assert relative_gap(gradients(name, cap=1e3), gradients(name)) < 1e-10

    def test_a_cap_among_the_scores_is_a_reward_that_is_flat_above_it(self, name):
        cap = 3.0
        flat = gradients(name, reward=lambda images, prompts: colourful(images, prompts).clamp(max=cap))
        assert relative_gap(gradients(name, cap=cap), flat) < 1e-10
        assert relative_gap(flat, gradients(name)) > 1e-3


def test_alignprop_has_a_target_or_a_cap():
    with pytest.raises(UserError, match="exclude each other"):
        Alignprop(target=1.0, cap=1.0)
