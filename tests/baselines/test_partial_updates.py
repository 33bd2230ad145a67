"""Methods that move only a part of the weights: mofo and hft; with share 1 both are naive."""

from __future__ import annotations

import pytest
import torch

from tests.adapted import TARGETS, AdaptedToy, after_tasks, baseline, reloaded, same, started, updated


def copies(model):
    return {name: weight.detach().clone() for name, weight in model.adapter_parameters("adapter").items()}


@pytest.mark.parametrize("name", ["mofo", "hft"])
def test_share_1_is_naive_and_a_half_is_not(name):
    naive = after_tasks(baseline("naive"))
    assert same(after_tasks(baseline(name, share=1.0)), naive)
    assert not same(after_tasks(baseline(name, share=0.5)), naive)


# -- mofo ----------------------------------------------------------------------------------------------------


def test_an_update_moves_the_entries_with_the_largest_momentum():
    """Against AdamW's own momentum, exp_avg, which the method cannot see."""
    model, method = AdaptedToy(), baseline("mofo", share=1 / 3)
    method.bind(model)
    started(method, model)
    weights = model.adapter_parameters("adapter")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    rng = torch.Generator().manual_seed(3)
    for _ in range(4):
        for weight in weights.values():
            weight.grad = torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
        before = copies(model)
        method.adjust_gradients()
        for weight in weights.values():
            weight.grad.mul_(0.1)  # clipped after the hook
        optimizer.step()
        stepped = copies(model)
        method.after_update()
        for name, weight in weights.items():
            momentum = optimizer.state[weight]["exp_avg"].abs()
            moves = momentum >= momentum.flatten().sort(descending=True).values[weight.numel() // 3 - 1]
            torch.testing.assert_close(weight.detach(), torch.where(moves, stepped[name], before[name]))


def test_its_momentum_is_in_its_state_and_starts_anew_with_a_task():
    method = baseline("mofo")
    model = after_tasks(method)
    fresh = reloaded(method, model)
    held = fresh.state_dict()["momentum"]
    assert all(torch.equal(held[name], value) for name, value in method.state_dict()["momentum"].items())
    assert any(value.any() for value in held.values())
    started(method, model, 3)
    assert not any(value.any() for value in method.state_dict()["momentum"].values())


# -- hft -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "trained"), [(0.5, 2), (0.25, 1), (0.3, 2), (0.01, 1)])
def test_a_task_trains_its_share_of_each_block(share, trained):
    model, method = AdaptedToy(), baseline("hft", share=share)
    method.bind(model)
    drawn = set()
    for index in range(1, 6):
        task = started(method, model, index)
        before = copies(model)
        updated(method, model, task)
        moved = {
            layer
            for layer in model.layers
            if any(
                not torch.equal(weight, before[name])
                for name, weight in model.adapter_parameters("adapter").items()
                if name.startswith(layer + ".")
            )
        }
        for block in ("block.0", "block.1"):
            assert len(moved & {f"{block}.{end}" for end in TARGETS}) == trained
        drawn.add(frozenset(moved))
    assert len(drawn) > 1  # each task draws other ones


def test_the_same_task_freezes_the_same_layers_also_after_a_resume():
    methods = [baseline("hft") for _ in range(2)]
    models = [AdaptedToy() for _ in methods]
    for method, model in zip(methods, models, strict=True):
        method.bind(model)
        started(method, model)
    frozen = methods[0].state_dict()
    assert frozen == methods[1].state_dict() == reloaded(methods[0], models[0]).state_dict()
