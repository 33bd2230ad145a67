"""Methods that only choose adapters and tasks: single, soup, lora_per_task, joint, replay."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from ril_bench import registry
from ril_bench.running.training import turns
from ril_bench.storage.run_folder import RunFolder
from tests.tiny import LoraPerTask, results, runner, trained, training, weights

Single, Soup, Joint, Replay, Rid = (
    registry.load("method", name) for name in ("single", "soup", "joint", "replay", "rid")
)


def lora(folder, step):
    return (folder / f"step-{step}" / "adapter.safetensors").read_bytes()


# -- lora_per_task -------------------------------------------------------------------------------------------


def test_an_adapter_for_each_task_the_earlier_ones_frozen_and_summed(tiny_model):
    trained(tiny_model, LoraPerTask(), [1])
    first = weights(tiny_model, "task-1")
    training(tiny_model, LoraPerTask(), 2).run(lambda line: None)
    assert (tiny_model.active, tiny_model.trained) == ({"task-1": 1.0, "task-2": 1.0}, ["task-2"])
    assert weights(tiny_model, "task-1") == first


def test_rid_without_its_penalty_is_lora_per_task_to_the_bit(tiny_sequence, tmp_path):
    settings = ["budget.updates=4"]
    plain = runner(tiny_sequence, tmp_path, "lora_per_task", settings=settings).execute()
    rid = runner(tiny_sequence, tmp_path, "rid", settings=[*settings, "method.strength=0"]).execute()
    assert results(rid) == results(plain)


# -- single and soup -----------------------------------------------------------------------------------------


def test_single_knows_the_last_reward_alone(tiny_sequence, tmp_path):
    """Its step 2 is a run of task 2 alone, except for the draws, which are those of step 2."""
    folder = runner(tiny_sequence, tmp_path, "single").execute()
    reverse = runner(tiny_sequence, tmp_path, "single", order="reversed").execute()
    assert lora(folder, 1) != lora(reverse, 1)
    carried = [entry["carried_bytes"] for entry in RunFolder(folder).read_run()["steps"]]
    assert carried[1] == carried[2]  # one adapter, also after earlier tasks


def test_soup_of_one_task_is_single(tiny_sequence, tmp_path):
    soup, single = (runner(tiny_sequence, tmp_path, name).execute() for name in ("soup", "single"))
    assert lora(soup, 1) == lora(single, 1)
    assert lora(soup, 2) != lora(single, 2)


def test_soup_is_the_mean_of_deltas_that_know_nothing_of_each_other(tiny_model):
    method = Soup()
    trained(tiny_model, method)
    parts = [tiny_model.delta(f"task-{i}") for i in (1, 2)]
    joined = tiny_model.joined()
    for layer, delta in parts[0].items():
        up, down = (joined[f"unet.{layer}.lora_{factor}.weight"] for factor in ("B", "A"))
        torch.testing.assert_close(up @ down, (delta + parts[1][layer]) / 2)


def test_soups_second_adapter_is_trained_without_the_first(tiny_model):
    method = Soup()
    trained(tiny_model, method, [1])
    second = training(tiny_model, method, 2)
    assert (tiny_model.active, tiny_model.trained) == ({"task-2": 1.0}, ["task-2"])
    second.run(lambda line: None)


# -- joint and replay ----------------------------------------------------------------------------------------


def test_oracles_say_so():
    assert [method.oracle for method in (Joint, Replay, Single, Soup, LoraPerTask)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_joint_gives_each_reward_so_far_the_budget_of_a_task(tiny_sequence, tmp_path):
    folder = runner(tiny_sequence, tmp_path, "joint", settings=["budget.updates=3"]).execute()
    log = Counter((line["task"], line["reward"]) for line in RunFolder(folder).read_log())
    assert log == {(1, "brightness"): 3, (2, "brightness"): 3, (2, "symmetry"): 3}


@pytest.mark.parametrize(("share", "old"), [(0.5, 6), (0.25, 3), (0.75, 9)])
def test_replay_gives_earlier_rewards_their_share(share, old):
    plan = Replay(share=share).plan(["a", "b", "c"], 3)
    counts = Counter(turns(plan.weights, 12))
    assert (plan.updates, plan.start) == (1.0, "current")
    assert (counts[3], counts[1] + counts[2]) == (12 - old, old)
    assert abs(counts[1] - counts[2]) <= 1
    assert Replay(share=share).plan(["a"], 1).weights == {1: 1.0}
