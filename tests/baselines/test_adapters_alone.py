"""Methods that only choose adapters and tasks: single, soup, lora_per_task, joint, replay."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.running import accounts
from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import status
from tests.tiny import LoraPerTask, runner, trained, training, weights, write_sequence

Single, Soup, Joint, Replay = (
    registry.load("method", name) for name in ("single", "soup", "joint", "replay")
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


# -- single and soup -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def single_run(tiny_sequence, tmp_path_factory):
    return runner(tiny_sequence, tmp_path_factory.mktemp("single"), "single").execute()


def test_single_begins_each_task_at_the_pretrained_model(single_run):
    assert Single().plan(["a", "b"], 2).start == "pretrained"  # then the runner deletes all adapters
    carried = [entry["carried_bytes"] for entry in RunFolder(single_run).read_run()["steps"]]
    assert carried[1] == carried[2]  # one adapter, also after earlier tasks


def test_soup_of_one_task_is_single(tiny_sequence, tmp_path, single_run):
    soup = runner(tiny_sequence, tmp_path, "soup").execute()
    assert lora(soup, 1) == lora(single_run, 1)
    assert lora(soup, 2) != lora(single_run, 2)


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


def test_joint_raises_all_rewards_for_the_sum_of_their_budgets(tiny_data, tmp_path):
    tasks = [{"reward": "brightness"}, {"reward": "symmetry", "budget": {"updates": 2}}]
    sequence = write_sequence(tmp_path / "tiny.yaml", tiny_data, tasks=tasks)
    folder = runner(sequence, tmp_path, "joint", settings=["budget.updates=1"]).execute()
    log = Counter((line["task"], line["reward"]) for line in RunFolder(folder).read_log())
    assert log == {(1, "brightness"): 1, (2, "brightness+symmetry"): 1 + 2}
    # an image that two rewards score costs one rollout: 2 guided images at 3 steps, in 3 updates
    calls = accounts.from_rows(RunFolder(folder).read_run()["steps"][2]["training_calls"])
    assert accounts.samples(calls, "denoiser") == 3 * 2 * 2 * 3
    assert accounts.samples(calls, "decode") == 3 * 2
    assert accounts.samples(calls, "reward:brightness") == accounts.samples(calls, "reward:symmetry") == 3 * 2


@pytest.mark.parametrize("share", [0.5, 0.25, 0.75])
def test_replay_gives_earlier_rewards_their_share(share):
    plan = Replay(share=share).plan(["a", "b", "c"], 3)
    assert (plan.updates, plan.extension, plan.start) == ("own", 1.0, "current")
    assert plan.weights == {1: share / 2, 2: share / 2, 3: 1 - share}
    assert Replay(share=share).plan(["a"], 1).weights == {1: 1.0}


@pytest.mark.parametrize(
    ("name", "tuner"),
    [("joint", {"name": "dpo"}), ("replay", {"name": "ddpo", "samples": 2, "reuse": 2})],
)
def test_a_sum_of_rewards_is_a_reward_for_tuners_without_gradient(tiny_data, tmp_path, name, tuner):
    sequence = write_sequence(tmp_path / "tiny.yaml", tiny_data, tuner=tuner)
    folder = runner(sequence, tmp_path, name).execute()
    last = [line for line in RunFolder(folder).read_log() if line["task"] == 2]
    assert {line["reward"] for line in last} == {"brightness+symmetry"}
    assert all(line["grad_norm"] > 0 for line in last)


@pytest.mark.parametrize("method", ["joint", "replay", "mapreduce", "agem"])
@pytest.mark.parametrize("tuner", [{"name": "sft", "images": "shapes"}, {"name": "spin", "images": "shapes"}])
def test_a_tuner_of_given_images_raises_no_sum(tiny_data, tmp_path, method, tuner):
    """It has the images of one task, so the other rewards would have no effect."""
    sequence = write_sequence(tmp_path / "tiny.yaml", tiny_data, tuner=tuner)
    with pytest.raises(UserError, match="several rewards in one step") as caught:
        runner(sequence, tmp_path, method)
    assert caught.value.where == "tasks.2.tuner"


@pytest.mark.parametrize("tuner", [{"name": "nft", "samples": 2, "noises": 1}, {"name": "crd", "samples": 2}])
def test_mapreduce_merges_under_tuners_that_follow_the_model(tiny_data, tmp_path, tuner):
    """A merge changes the rank of the model that their moving averages follow."""
    sequence = write_sequence(tmp_path / "tiny.yaml", tiny_data, tuner=tuner)
    folder = runner(
        sequence, tmp_path, "mapreduce", settings=["budget.updates=3", "method.length=1"]
    ).execute()
    assert status(folder)["status"] == "complete"


@pytest.mark.parametrize("method", ["soup", "ties", "naive"])
def test_what_trains_is_counted_while_it_trains(tiny_sequence, tmp_path, method):
    for step in status(runner(tiny_sequence, tmp_path, method).execute())["steps"][1:]:
        assert step["trainable_bytes"] > 0


@pytest.mark.parametrize("method", ["joint", "replay"])
def test_tasks_with_other_tuners_cannot_share_an_update(tiny_data, tmp_path, method):
    tasks = [{"reward": "brightness"}, {"reward": "symmetry", "tuner": {"name": "refl"}}]
    sequence = write_sequence(tmp_path / "tiny.yaml", tiny_data, tasks=tasks)
    with pytest.raises(
        UserError, match="brightness and symmetry in the same update, and their tuner"
    ) as caught:
        runner(sequence, tmp_path, method)
    assert caught.value.where == "tasks.1, tasks.2"
    runner(sequence, tmp_path, "naive")
