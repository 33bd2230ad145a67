from __future__ import annotations

import torch

from ril_bench import registry
from tests.tiny import trained, training, weights

Naive = registry.load("method", "naive")


def test_one_adapter_is_tuned_on(tiny_model):
    method = Naive()
    trained(tiny_model, method, [1])
    after_first = weights(tiny_model, "adapter")
    second = training(tiny_model, method, 2)
    assert list(tiny_model.adapters) == ["adapter"]
    assert (tiny_model.active, tiny_model.trained) == ({"adapter": 1.0}, ["adapter"])
    assert weights(tiny_model, "adapter") == after_first  # step 2 continues from these weights
    second.run(lambda line: None)
    assert weights(tiny_model, "adapter") != after_first


def test_nothing_is_added_to_the_tuners_loss(tiny_model):
    lines = trained(tiny_model, Naive())
    assert [line["penalty"] for line in lines] == [0.0] * 6
    assert all(line["loss"] == -line["score"] for line in lines)


def test_it_starts_from_the_pretrained_model(tiny_model):
    Naive().start_task(training(tiny_model, Naive()).tasks[1], tiny_model)
    assert all(torch.equal(delta, torch.zeros_like(delta)) for delta in tiny_model.delta("adapter").values())
