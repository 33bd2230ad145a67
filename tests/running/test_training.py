"""Updates of a training: turns, micro-batches, hooks, frozen adapters, NaN and infinity."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.errors import NumericalError
from ril_bench.rewards.base import Reward
from ril_bench.rewards.jpeg import JpegKb
from ril_bench.running.training import adamw, turns
from tests.tiny import (
    PROMPTS,
    LoraPerTask,
    Penalised,
    bound,
    gradients,
    reward_task,
    shaken,
    trained,
    training,
    weights,
)


class Broken(Reward):
    """Finite scores for the first `call` calls, then scores times `value`."""

    name = "broken"
    unit = "-"

    def __init__(self, value, call=0):
        super().__init__()
        self.value, self.left = value, call

    def score(self, images, prompts):
        self.left -= 1
        return images.mean((1, 2, 3)) * (self.value if self.left < 0 else 1.0)


class Louder(Reward):
    """The same reward in another unit: the mean of the red channel times `times`."""

    name = "louder"
    unit = "-"

    def __init__(self, times):
        super().__init__()
        self.times = times

    def score(self, images, prompts):
        return self.times * images[:, 0].mean((1, 2))


# -- turns ---------------------------------------------------------------------------------------------------

shares = st.dictionaries(st.integers(1, 6), st.floats(0.05, 10), min_size=1, max_size=5)


def furthest(weights, updates):
    """The largest difference of any task from its share at any time, in updates."""
    order, total = turns(weights, updates), sum(weights.values())
    assert len(order) == updates
    return max(
        abs(order[:n].count(task) - n * weight / total)
        for n in range(updates + 1)
        for task, weight in weights.items()
    )


@given(shares, st.integers(0, 60))
def test_each_task_has_its_share_at_any_time(weights, updates):
    assert furthest(weights, updates) < (1 if len(weights) <= 2 else 1.5)


@given(st.integers(1, 6), st.integers(0, 60))
def test_equal_weights_take_turns(tasks, updates):
    assert turns(dict.fromkeys(range(1, tasks + 1), 0.3), updates) == [1 + n % tasks for n in range(updates)]


def test_turns():
    assert turns({3: 1.0}, 4) == [3] * 4
    assert turns({1: 1, 2: 3}, 8).count(2) == 6
    assert turns({1: 0.5, 2: 1.5}, 9) == turns({1: 1, 2: 3}, 9)


# -- an update -----------------------------------------------------------------------------------------------


def test_an_update_does_not_depend_on_its_micro_batches(tiny_model):
    found, lines = {}, {}
    for size in (8, 4, 3, 1):
        model = copy.deepcopy(tiny_model)
        single = training(model, bound(Penalised(), model), k=2, updates=1, batch=8, micro_batch=size)
        shaken(model)
        single.run(lambda line, size=size: lines.update({size: line}))
        found[size] = gradients(model)
    for size in (4, 3, 1):
        assert (found[size] - found[8]).norm() < 1e-5 * found[8].norm()
        for key in ("score", "loss", "penalty", "grad_norm"):
            assert lines[size][key] == pytest.approx(lines[8][key], rel=1e-5)


def test_a_micro_batch_is_never_larger_than_the_batch(tiny_model):
    single = training(tiny_model, bound(LoraPerTask(), tiny_model), updates=1, batch=2, micro_batch=5)
    single.run(lambda line: None)
    assert tiny_model.counter["decode", True, 2] == 1


def test_the_log_line_of_an_update(tiny_model):
    (line,) = trained(tiny_model, Penalised(), [1], updates=1)
    assert {key: line[key] for key in ("task", "update", "reward")} == {
        "task": 1,
        "update": 0,
        "reward": "brightness",
    }
    assert 0 < line["score"] < 255
    assert line["loss"] == -line["score"]
    assert line["penalty"] > 0
    assert line["grad_norm"] == pytest.approx(gradients(tiny_model).norm().item())  # too small to be clipped
    assert line["seconds"] > 0


def test_a_reward_of_which_less_is_better_is_negated(tiny_model):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    task = reward_task(tiny_model, reward=JpegKb())
    assert torch.equal(task.reward(images, PROMPTS[:2]), -JpegKb()(images, PROMPTS[:2]))
    assert tiny_model.counter["reward:jpeg_kb", True, 2] == 1


def test_in_a_mix_the_unit_of_one_reward_does_not_change_the_steps_of_another(tiny_model):
    """The step of AdamW does not depend on the unit of the reward.

    With separate moments for each task, the steps of a mix of tasks do not depend on units either.
    """

    def mixed(times):
        model = copy.deepcopy(tiny_model)
        mix = training(model, bound(LoraPerTask(), model), updates=6)
        mix.spec = mix.spec.model_copy(
            update={"optimizer": mix.spec.optimizer.model_copy(update={"max_grad_norm": 1e9})}
        )
        mix.tasks = {1: mix.tasks[1], 2: reward_task(model, 2, Louder(times))}
        mix.optimizers = {j: adamw(model, mix.tuner, mix.spec) for j in (1, 2)}
        mix.order = [1, 2] * 3
        mix.run(lambda line: None)
        return torch.cat([w.detach().flatten() for w in model.adapter_parameters("task-1").values()])

    # The gradients are well above AdamW's epsilon.
    quiet, loud, opposite = (mixed(times) for times in (2.0**12, 2.0**20, -(2.0**12)))
    assert (quiet - loud).norm() < 0.05 * (quiet - opposite).norm()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_other_bytes(tiny_model):
    def run(seed):
        model = copy.deepcopy(tiny_model)
        seeded = training(model, bound(LoraPerTask(), model))
        seeded.seed = seed
        seeded.run(lambda line: None)
        return weights(model, "task-1")

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_an_update_depends_only_on_its_number_and_on_the_state_before_it(tiny_model):
    """A resume relies on this: update 2 from the state after update 1 gives the same bytes."""
    straight = copy.deepcopy(tiny_model)
    training(straight, bound(LoraPerTask(), straight)).run(lambda line: None)
    model = copy.deepcopy(tiny_model)
    first = training(model, bound(LoraPerTask(), model), updates=2)
    first.run(lambda line: None)
    rest = copy.deepcopy(first)  # the model, the optimizer and the position, as another process restores them
    rest.order, rest.update = [1] * 3, 2
    rest.run(lambda line: None)
    assert weights(rest.model, "task-1") == weights(straight, "task-1")


# -- the hooks -----------------------------------------------------------------------------------------------


def test_the_hooks_come_in_their_order(tiny_model):
    hooks_called = []

    class Recording(LoraPerTask):
        def prediction_loss(self, prediction):
            hooks_called.append("prediction_loss")

        def weight_loss(self):
            hooks_called.append("weight_loss")

        def adjust_gradients(self):
            hooks_called.append("adjust_gradients")

        def after_update(self):
            hooks_called.append("after_update")

    trained(tiny_model, Recording(), [1], updates=2, k=2)
    once = ["prediction_loss"] * 2 + ["weight_loss", "adjust_gradients", "after_update"]
    assert hooks_called == 2 * once


def test_the_weight_loss_has_its_gradient_and_is_logged(tiny_model):
    class Decay(LoraPerTask):
        def bind(self, model):
            self.model = model

        def weight_loss(self):
            return 1000.0 * sum(parameter.square().sum() for parameter in self.model.parameters())

    plain, decayed = copy.deepcopy(tiny_model), tiny_model
    trained(plain, LoraPerTask(), [1])
    lines = trained(decayed, Decay(), [1])
    assert lines[0]["penalty"] > 0

    def size(model):
        return sum(parameter.square().sum().item() for parameter in model.parameters())

    assert size(decayed) < 0.9 * size(plain)


def test_gradients_are_adjusted_before_they_are_clipped(tiny_model):
    class Louder(LoraPerTask):
        def bind(self, model):
            self.model = model

        def adjust_gradients(self):
            for parameter in self.model.parameters():
                parameter.grad.mul_(1e9)

    (line,) = trained(tiny_model, Louder(), [1], updates=1)
    assert line["grad_norm"] > 1
    assert gradients(tiny_model).norm().item() == pytest.approx(1.0, rel=1e-3)


def test_frozen_adapters_keep_their_bytes(tiny_model):
    """While another task is trained, and while every call with a gradient folds in a teacher."""

    class Taught(LoraPerTask):
        def bind(self, model):
            self.model = model

        def prediction_loss(self, prediction):
            frozen = {name: 1.0 for name in self.model.adapters if name not in self.model.trained}
            with torch.no_grad(), self.model.folded(frozen):
                taught = self.model.predict(
                    prediction.x_t, prediction.t, prediction.prompts, prediction.guidance
                )
            return (prediction.eps - taught).square().mean()

    method = Taught()
    base = {name: value.clone() for name, value in tiny_model.unet.state_dict().items()}
    trained(tiny_model, method, [1])
    first = weights(tiny_model, "task-1")
    method_lines = []
    second = training(tiny_model, method, 2)
    began = weights(tiny_model, "task-2")
    second.run(method_lines.append)
    assert weights(tiny_model, "task-1") == first
    assert weights(tiny_model, "task-2") != began
    assert method_lines[-1]["penalty"] > 0
    kept = {name.replace(".base_layer", ""): value for name, value in tiny_model.unet.state_dict().items()}
    assert all(torch.equal(kept[name], value) for name, value in base.items())


# -- values that are not finite ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_reward_that_is_not_finite_ends_the_training_at_once(tiny_model, value):
    failing = training(
        tiny_model, bound(LoraPerTask(), tiny_model), 3, reward=Broken(value, call=2), updates=5
    )
    lines = []
    with pytest.raises(NumericalError, match="the reward and the loss") as caught:
        failing.run(lines.append)
    assert caught.value.where == "task 3 (broken), update 2"
    assert [line["update"] for line in lines] == [0, 1]
    assert all(torch.isfinite(parameter).all() for parameter in tiny_model.parameters())


def test_a_gradient_that_is_not_finite_is_reported(tiny_model):
    class Root(Broken):
        def score(self, images, prompts):
            return (images.mean((1, 2, 3)) * 0).sqrt()  # 0, but its slope is infinite

    failing = training(tiny_model, bound(LoraPerTask(), tiny_model), reward=Root(0))
    with pytest.raises(NumericalError, match="the gradient of an update is not finite"):
        failing.run(lambda line: None)


def test_a_loss_of_the_method_that_is_not_finite_is_reported(tiny_model):
    class Wrong(LoraPerTask):
        def weight_loss(self):
            return torch.tensor(float("nan"), requires_grad=True)

    failing = training(tiny_model, bound(Wrong(), tiny_model))
    with pytest.raises(NumericalError, match="the penalty of an update is not finite"):
        failing.run(lambda line: None)
