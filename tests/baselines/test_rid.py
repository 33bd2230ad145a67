"""RID, compared with its formulas on a copy of the model with weights changed by hand."""

from __future__ import annotations

import copy
import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from ril_bench import registry
from ril_bench.diffusion.sampler import Prediction
from ril_bench.errors import UserError
from tests.tiny import LoraPerTask, bound, prediction, trained, training, weights

Rid = registry.load("method", "rid")


@pytest.fixture
def teacher(tiny_model):
    """A teacher by hand: the noise of the pretrained model with deltas added to its weights."""
    plain = copy.deepcopy(tiny_model)

    def predict(prediction: Prediction, *deltas: dict[str, Tensor]) -> Prediction:
        model = copy.deepcopy(plain)
        for delta in deltas:
            for path, change in delta.items():
                model.denoiser.get_submodule(path).weight.add_(change)
        with torch.no_grad():
            return prediction.with_output(
                model.predict(prediction.x_t, prediction.t, prediction.prompts, prediction.guidance)
            )

    return predict


def loss(method, model):
    return method.prediction_loss(prediction(model)).item()


def distance(a: Prediction, b: Prediction):
    return (a.x0() - b.x0()).square().mean().item()


def deltas_after_each_update(model, method, step, **options):
    one, found = training(model, method, step, **options), []
    name = f"task-{step}"
    one.run(lambda line: found.append({path: delta.clone() for path, delta in model.delta(name).items()}))
    return found


def average(deltas, m):
    """(1 - m) sum_k m^(n-k) delta_k."""
    n = len(deltas)
    return {
        path: (1 - m) * sum(m ** (n - k) * delta[path].double() for k, delta in enumerate(deltas, 1))
        for path in deltas[0]
    }


# -- the group of adapters -----------------------------------------------------------------------------------


def test_each_task_has_a_fresh_adapter_over_the_frozen_earlier_ones(tiny_model):
    method = Rid()
    trained(tiny_model, method, [1])
    first = weights(tiny_model, "task-1")
    training(tiny_model, method, 2).run(lambda line: None)
    assert tiny_model.active == {"task-1": 1.0, "task-2": 1.0}
    assert tiny_model.trained == ["task-2"]
    assert weights(tiny_model, "task-1") == first


def test_strength_0_is_a_plain_adapter_per_task(tiny_model):
    """The adapters are equal to the byte: the distillation draws no random numbers."""
    plain, rid = copy.deepcopy(tiny_model), tiny_model
    trained(plain, LoraPerTask())
    lines = trained(rid, Rid(strength=0.0))
    assert [line["penalty"] for line in lines] == [0.0] * 6
    for name in ("task-1", "task-2"):
        assert weights(rid, name) == weights(plain, name)


def test_any_other_strength_is_not(tiny_model):
    plain, rid = copy.deepcopy(tiny_model), tiny_model
    trained(plain, LoraPerTask())
    lines = trained(rid, Rid(strength=100.0))
    assert max(line["penalty"] for line in lines) > 0
    assert weights(rid, "task-2") != weights(plain, "task-2")


# -- the average ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [0.0, 0.5, 0.9])
def test_the_teacher_is_the_average_of_deltas(tiny_model, teacher, m):
    method = bound(Rid(strength=1.0, decay=m), tiny_model)
    deltas = deltas_after_each_update(tiny_model, method, 1, updates=4)
    expected = average(deltas, m)
    for path, found in method.state_dict()["average"].items():
        torch.testing.assert_close(found.double(), expected[path], rtol=1e-4, atol=1e-7)
    now = prediction(tiny_model)
    by_hand = distance(now, teacher(now, expected))
    assert loss(method, tiny_model) == pytest.approx(by_hand, rel=1e-3, abs=1e-9)


def test_an_average_of_deltas_is_not_one_of_factors(tiny_model):
    method = bound(Rid(strength=1.0, decay=0.5), tiny_model)
    one, factors = training(tiny_model, method, 1, updates=3), []
    one.run(
        lambda line: factors.append(
            [p.detach().clone() for p in tiny_model.adapter_parameters("task-1").values()]
        )
    )
    mean = [sum(0.5 ** (3 - k) * 0.5 * p for k, p in enumerate(each)) for each in zip(*factors, strict=True)]
    path, found = next(iter(method.state_dict()["average"].items()))
    scaling = tiny_model.adapters["task-1"].alpha / tiny_model.adapters["task-1"].rank
    assert list(tiny_model.adapter_parameters("task-1"))[:2] == [
        f"{path}.lora_A.weight",
        f"{path}.lora_B.weight",
    ]
    assert (found - scaling * mean[1] @ mean[0]).norm() > 0.1 * found.norm()


def test_bias_correction_divides_by_what_is_missing(tiny_model, teacher):
    method = bound(Rid(strength=1.0, decay=0.9, bias_correction=True), tiny_model)
    deltas = deltas_after_each_update(tiny_model, method, 1, updates=3)
    corrected = {path: value / (1 - 0.9**3) for path, value in average(deltas, 0.9).items()}
    now = prediction(tiny_model)
    assert loss(method, tiny_model) == pytest.approx(
        distance(now, teacher(now, corrected)), rel=1e-3, abs=1e-9
    )


def test_bias_correction_follows_from_the_first_update_on(tiny_model):
    method = bound(Rid(strength=1.0, decay=0.9, bias_correction=True), tiny_model)
    training(tiny_model, method, 1, updates=1).run(lambda line: None)
    assert loss(method, tiny_model) == pytest.approx(0.0, abs=1e-10)  # the average of one delta is that delta


def test_there_is_no_bias_to_correct_at_1():
    with pytest.raises(UserError, match="no bias to correct"):
        Rid(decay=1, bias_correction=True)
    Rid(decay=1)


@pytest.mark.parametrize(
    "options",
    [{"decay": 1.5}, {"decay": -0.1}, {"strength": -1.0}, {"teacher": "reset"}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UserError, match=next(iter(options))):
        Rid(**options)


# -- the teacher ---------------------------------------------------------------------------------------------


def test_at_decay_1_the_teacher_is_the_model_before_the_task(tiny_model, teacher):
    method = Rid(decay=1.0, strength=2.0)
    trained(tiny_model, method, [1])
    before = tiny_model.delta("task-1")
    training(tiny_model, method, 2).run(lambda line: None)
    now = prediction(tiny_model)
    by_hand = 2.0 * distance(now, teacher(now, before))
    assert by_hand > 0
    assert loss(method, tiny_model) == pytest.approx(by_hand, rel=1e-3)


def test_a_task_begins_with_nothing_to_distil(tiny_model):
    method = bound(Rid(strength=1.0), tiny_model)
    training(tiny_model, method, 1)
    assert loss(method, tiny_model) == pytest.approx(0.0, abs=1e-10)


def test_restart_takes_the_frozen_adapters_as_they_ended_and_keep_as_averages(tiny_model, teacher):
    restarted, kept = tiny_model, copy.deepcopy(tiny_model)
    methods = {"restart": restarted, "keep": kept}
    losses, by_hand = {}, {}
    for option, model in methods.items():
        method = bound(Rid(strength=1.0, decay=0.5, teacher=option), model)
        first = deltas_after_each_update(model, method, 1)
        training(model, method, 2, updates=1)
        now = prediction(model)
        losses[option] = loss(method, model)
        by_hand[option] = distance(
            now, teacher(now, first[-1] if option == "restart" else average(first, 0.5))
        )
    assert losses["restart"] == pytest.approx(0.0, abs=1e-10)
    assert losses["keep"] > 1e-9
    assert losses["keep"] == pytest.approx(by_hand["keep"], rel=1e-3)


def test_only_the_student_has_a_gradient(tiny_model):
    method = Rid(strength=1.0, decay=0.5)
    trained(tiny_model, method, [1, 2])
    tiny_model.denoiser.zero_grad(set_to_none=True)
    method.prediction_loss(prediction(tiny_model)).backward()
    with_gradient = {id(p) for p in tiny_model.denoiser.parameters() if p.grad is not None}
    assert with_gradient == {id(p) for p in tiny_model.parameters()}
    assert sum(p.grad.abs().sum() for p in tiny_model.parameters()) > 0


@pytest.mark.parametrize("kept", ["restart", "keep"])
def test_every_teacher_trains(tiny_model, kept):
    lines = trained(tiny_model, Rid(teacher=kept, decay=0.9), updates=2)
    assert len(lines) == 4
    for line in lines:
        assert all(math.isfinite(line[key]) for key in ("score", "loss", "penalty", "grad_norm"))
    assert lines[1]["penalty"] > 0
    for name in ("task-1", "task-2"):
        assert all(torch.isfinite(p).all() for p in tiny_model.adapter_parameters(name).values())


# -- what it costs and carries -------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2])
def test_it_costs_one_more_forward_for_each_graded_call(tiny_model, k):
    plain, rid = copy.deepcopy(tiny_model), tiny_model
    trained(plain, LoraPerTask(), [1], k=k)
    trained(rid, Rid(), [1], k=k)
    assert rid.counter - plain.counter == Counter({("denoiser", False, 4): 3 * k})


def test_its_state_is_all_that_a_resume_needs(tiny_model):
    def first_half(model):
        method = Rid(decay=0.5, strength=50.0, teacher="keep", bias_correction=True)
        trained(model, method, [1])
        one = training(model, method, 2, updates=2)
        one.updates = 1
        one.run(lambda line: None)
        one.updates = 3
        return one

    straight = first_half(copy.deepcopy(tiny_model))
    straight.run(lambda line: None)
    resumed = first_half(copy.deepcopy(tiny_model))
    fresh = bound(Rid(**resumed.method.options.model_dump()), resumed.model)
    fresh.load_state_dict(copy.deepcopy(resumed.method.state_dict()))
    resumed.method = fresh
    resumed.run(lambda line: None)
    assert weights(resumed.model, "task-2") == weights(straight.model, "task-2")
