from __future__ import annotations

import torch

from tests.adapted import AdaptedToy, after_tasks, baseline, same, shaken, started


def test_its_loss_by_hand():
    model, method = AdaptedToy(), baseline("clora", strength=2.0)
    method.bind(model)
    for index in (1, 2, 3):
        started(method, model, index)
        if index == 1:
            assert method.weight_loss() is None
        shaken(model, seed=index)
    first, second, third = (model.delta(f"task-{i}") for i in (1, 2, 3))
    expected = sum(
        ((first[layer][o, i] + second[layer][o, i]) * third[layer][o, i]) ** 2
        for layer in first
        for o in range(3)
        for i in range(3)
    )
    torch.testing.assert_close(method.weight_loss(), 2 * expected)
    method.weight_loss().backward()
    assert all(factor.grad is None for factor in model.adapter_parameters("task-1").values())


def test_weights_that_no_earlier_adapter_changed_are_free():
    model, method = AdaptedToy(rank=1, alpha=1), baseline("clora")
    method.bind(model)
    for index in (1, 2):
        started(method, model, index)
        for factor in model.parameters():
            factor.data.zero_()
            factor.data.flatten()[index] = 1.0  # entry (index, index) of each layer
    assert method.weight_loss().item() == 0


def test_strength_0_is_an_adapter_per_task_and_a_large_one_is_not():
    plain = after_tasks(baseline("lora_per_task"))
    assert same(after_tasks(baseline("clora", strength=0.0)), plain)
    assert not same(after_tasks(baseline("clora", strength=1e6)), plain)
