"""Updates of a training: units, micro-batches, hooks, frozen adapters, NaN and infinity."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from ril_bench.errors import MethodError, NumericalError
from ril_bench.rewards.base import Reward
from ril_bench.rewards.jpeg import JpegKb
from ril_bench.running.reward_task import Unit, summed
from tests.pipelines import PIXELS
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
    images = torch.rand(2, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))
    task = reward_task(tiny_model, reward=JpegKb())
    assert torch.equal(task.reward(images, PROMPTS[:2]), -JpegKb()(images, PROMPTS[:2]))
    assert tiny_model.counter["reward:jpeg_kb", False, 2] == 1


def test_a_tuner_sees_a_reward_in_its_unit_and_the_log_states_it_in_its_own(tiny_model):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    task = reward_task(tiny_model, reward=JpegKb(), unit=Unit(b=1.5, sigma=0.25))
    raw = JpegKb()(images, PROMPTS[:2])
    torch.testing.assert_close(task.reward(images, PROMPTS[:2]), -(raw - 1.5) / 0.25)
    assert task.raw(task.reward(images, PROMPTS[:2]).mean().item()) == pytest.approx(-raw.mean().item())


def test_a_sum_of_rewards_scores_the_same_images_and_has_its_parts_gradient(tiny_model):
    """A sum of a reward and its own multiple has the gradient of one reward with the sum of the weights."""
    found = {}
    for name, shares in {"sum": {1: 0.5, 3: 2.0}, "single": {1: 1.0}}.items():
        model = copy.deepcopy(tiny_model)
        one = training(model, bound(LoraPerTask(), model), updates=1)
        one.tasks = {1: one.tasks[1], 3: reward_task(model, 3, Louder(4.0), unit=Unit(sigma=4.0))}
        one.tasks[1] = reward_task(model, 1, Louder(1.0))
        one.weights = shares
        one.spec.optimizer.__dict__["max_grad_norm"] = 1e9
        lines = []
        one.run(lines.append)
        found[name] = (gradients(model), lines[0], model.counter)
    torch.testing.assert_close(found["sum"][0], 2.5 * found["single"][0], rtol=1e-4, atol=1e-9)
    assert found["sum"][1]["reward"] == "louder+louder"
    assert found["sum"][1]["score"] == pytest.approx(2.5 * found["single"][1]["score"], rel=1e-5)
    assert found["sum"][2]["decode", True, 2] == found["single"][2]["decode", True, 2] == 1


def test_each_task_of_a_sum_provides_prompts(tiny_model):
    parts = [reward_task(tiny_model, 1), reward_task(tiny_model, 2)]
    parts = [(replace(task, prompts=[f"prompt of {task.index}"]), 1.0) for task in parts]
    drawn = [summed(parts[0][0], parts).prompt((0, 1), sample) for sample in range(200)]
    assert 70 < drawn.count("prompt of 1") < 130
    assert summed(parts[0][0], parts[1:]) is parts[1][0]


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
    rest.updates, rest.update = 3, 2
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


@pytest.mark.parametrize("hook", ["prediction_loss", "weight_loss"])
@pytest.mark.parametrize("value", ["x", 1.0, torch.ones(2), torch.ones(1), torch.ones((), dtype=torch.int64)])
def test_a_loss_that_is_no_scalar_is_refused(tiny_model, hook, value):
    method = type("Odd", (LoraPerTask,), {hook: lambda self, *_: value})
    with pytest.raises(MethodError, match=f"{hook} returned") as caught:
        trained(tiny_model, method(), steps=[1], updates=1)
    assert "loss.mean()" in caught.value.hint


@pytest.mark.parametrize("hook", ["prediction_loss", "weight_loss"])
def test_a_loss_of_0_changes_nothing(tiny_model, hook):
    method = type("Constant", (LoraPerTask,), {hook: lambda self, *_: torch.tensor(0.0)})
    (line,) = trained(tiny_model, method(), steps=[1], updates=1)
    assert line["penalty"] == 0.0


@pytest.mark.parametrize("hook", ["prediction_loss", "weight_loss"])
def test_a_penalty_that_has_lost_its_gradient_is_refused(tiny_model, hook):
    def penalty(self, *_):
        (deltas,) = (self.model.delta(name) for name in self.model.trained)
        return 1 + sum(delta.square().sum() for delta in deltas.values())

    def bind(self, model):
        self.model = model

    method = type("Lost", (LoraPerTask,), {hook: penalty, "bind": bind})
    with pytest.raises(MethodError, match=f"{hook} returned .* without a gradient"):
        trained(tiny_model, method(), steps=[1], updates=1)


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
            return (prediction.output - taught).square().mean()

    method = Taught()
    base = {name: value.clone() for name, value in tiny_model.denoiser.state_dict().items()}
    trained(tiny_model, method, [1])
    first = weights(tiny_model, "task-1")
    method_lines = []
    second = training(tiny_model, method, 2)
    began = weights(tiny_model, "task-2")
    second.run(method_lines.append)
    assert weights(tiny_model, "task-1") == first
    assert weights(tiny_model, "task-2") != began
    assert method_lines[-1]["penalty"] > 0
    kept = {
        name.replace(".base_layer", ""): value for name, value in tiny_model.denoiser.state_dict().items()
    }
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


# -- what a method adds to the optimizer and chooses --------------------------------------------------------


class Scaled(LoraPerTask):
    """Trains a number of its own: the gradient is 3, so it falls by the learning rate."""

    def bind(self, model):
        self.number = torch.nn.Parameter(torch.tensor(2.0))

    def parameters(self):
        return [self.number]

    def adjust_gradients(self):
        self.number.grad = torch.tensor(3.0)


def test_a_parameter_of_the_method_is_a_group_of_its_own(tiny_model):
    plain, scaled = copy.deepcopy(tiny_model), tiny_model
    method = Scaled()
    lines = [trained(model, m, [1]) for model, m in ((plain, LoraPerTask()), (scaled, method))]
    lines = [[{**line, "seconds": 0} for line in each] for each in lines]
    assert lines[0] == lines[1]  # neither clipping nor the log sees its gradient
    assert weights(plain, "task-1") == weights(scaled, "task-1")
    falls = 3 * 0.05  # AdamW moves by the learning rate where the gradient does not change
    assert method.number.item() == pytest.approx(2.0 - falls, abs=1e-3)


class InTurn(LoraPerTask):
    def turn(self, update):
        return [1 + update % 2]


def test_an_update_raises_the_tasks_whose_turn_it_is(tiny_model):
    one = training(tiny_model, bound(InTurn(), tiny_model), 2, updates=4)
    one.tasks = {1: reward_task(tiny_model, 1), 2: reward_task(tiny_model, 2)}
    one.weights = {1: 1.0, 2: 1.0}
    lines = []
    one.run(lines.append)
    assert [line["reward"] for line in lines] == ["brightness", "symmetry"] * 2
