"""The training loop of the recipe: a killed stage, and minibatches."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from ril_bench.worlds.shapes.train.common import Recipe
from ril_bench.worlds.shapes.train.fit import Batches, fit

UPDATES = 40


def trained(folder, killed_at=None):
    """Weights after `UPDATES` updates on noisy data; a kill comes at the beginning of an update."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    data, draw = torch.randn(50, 3), Batches(50, 4, seed=1)

    def loss_of(update):
        if update == killed_at:
            raise KeyboardInterrupt
        x = data[draw[update]]
        return (net(x + 0.1 * torch.randn(4, 3)) - x.sum(1, keepdim=True)).square().mean()

    return fit(Recipe(folder), "toy", net, loss_of, updates=UPDATES, lr=1e-2, every=10).state_dict()


@pytest.mark.parametrize("killed_at", [3, 10, 37])
def test_a_killed_stage_continues_to_the_same_weights(tmp_path, killed_at):
    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", killed_at)
    resumed = trained(tmp_path / "killed")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    lines = (tmp_path / "killed" / "training.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == [10, 20, 30, 40]
    assert not list((tmp_path / "killed").glob("*.checkpoint"))


def test_minibatches_are_the_draws_of_one_generator():
    rng = torch.Generator().manual_seed(7)
    drawn = [torch.randint(9, (5,), generator=rng) for _ in range(6)]
    batches, later = Batches(9, 5, seed=7), Batches(9, 5, seed=7)
    assert all(torch.equal(batches[u], drawn[u]) for u in range(6))
    assert torch.equal(later[4], drawn[4])


def test_a_damaged_checkpoint_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, killed_at=15)
    checkpoint = tmp_path / "toy.checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(ValueError, match="does not match its SHA-256 digest"):
        trained(tmp_path)
