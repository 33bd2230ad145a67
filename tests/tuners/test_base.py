"""The Tuner base class, and the options of every tuner that ships."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.tuners.base import Log, Tuner, differentiable_reward


class Example(Tuner):
    class Options(Tuner.Options):
        strength: float = 2.0
        rounds: int = 1


def test_options_have_defaults_and_are_typed():
    assert Example().options.strength == 2.0
    assert Example(strength="1e-3").options.strength == 1e-3  # YAML reads 1e-3 as a string


def test_all_wrong_options_are_named_at_once():
    with pytest.raises(UserError) as error:
        Example(strenght=1, rounds="many")
    assert "strenght" in str(error.value)
    assert "rounds" in str(error.value)
    assert "strength" in error.value.hint


def test_logs_of_micro_batches_add_up():
    assert Log(1.0, 2.0, 3.0) + Log(0.5, 0.25, 0.125) == Log(1.5, 2.25, 3.125)


def test_a_tuner_has_no_parameters_or_state_of_its_own_by_default():
    assert (list(Tuner().parameters()), Tuner().state_dict()) == ([], {})


@pytest.mark.parametrize("name", registry.names("tuner"))
def test_every_option_has_a_description(name):
    options = registry.load("tuner", name).Options.model_fields
    assert [key for key, field in options.items() if not field.description] == []


def brightness(images):
    return images.mean((1, 2, 3))


REWARDS = {
    "plain": brightness,
    "recomputed": lambda images: checkpoint(brightness, images, use_reentrant=False),
    "recomputed, reentrant": lambda images: checkpoint(brightness, images, use_reentrant=True),
}
CUT = {
    "no gradient": lambda images: brightness(images).detach(),
    "a graph that begins at the scores": lambda images: brightness(images).detach().requires_grad_(),
    "a graph of other tensors": lambda images: (
        brightness(images).detach() + torch.ones(3, requires_grad=True).sin()
    ),
}


@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_with_the_graph_of_the_images_is_differentiated(name, leaf):
    pixels = torch.rand(3, 3, 4, 4, requires_grad=True)
    images = pixels if leaf else pixels.square()
    images.retain_grad()
    reward = differentiable_reward(SimpleNamespace(reward=lambda x, _: REWARDS[name](x)), images, ["p"] * 3)
    reward.sum().backward()
    torch.testing.assert_close(images.grad, torch.full_like(images, 1 / 48))


@pytest.mark.parametrize("name", CUT)
def test_a_reward_without_the_graph_of_the_images_is_refused(name):
    images = torch.rand(3, 3, 4, 4, requires_grad=True).square()
    with pytest.raises(UserError, match="this reward keeps no gradient"):
        differentiable_reward(SimpleNamespace(reward=lambda x, _: CUT[name](x)), images, ["p"] * 3)
