"""The model's world decides which reward a name means; names of other worlds are refused."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.running.plan import plan_run
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.worlds.table import REAL, SHAPES, WORLDS, rewards_of, world_of
from tests.tiny import write_sequence


def test_every_model_belongs_to_one_world() -> None:
    for model in ("shapes-64", "shapes-flow"):
        assert world_of(model) is SHAPES
    for model in ("stable-diffusion-v1-5/stable-diffusion-v1-5", "./shapes-64", None):
        assert world_of(model) is REAL
    assert {model for world in WORLDS.values() for model in world.models} == set(registry.names("model"))


def test_a_name_means_the_reward_of_the_world() -> None:
    assert registry.locate("reward", "aesthetic", SHAPES) == SHAPES.rewards["aesthetic"]
    assert registry.locate("reward", "aesthetic", REAL) == REAL.rewards["aesthetic"]
    assert registry.locate("reward", "aesthetic") == REAL.rewards["aesthetic"]
    assert registry.locate("reward", "attributes") == SHAPES.rewards["attributes"]
    for world in WORLDS.values():
        assert {"compressibility", "aesthetic"} <= set(registry.names("reward", world))


def test_every_world_has_the_rewards_that_need_no_weights() -> None:
    for world in WORLDS.values():
        assert set(rewards_of(world)) == set(registry.names("reward", world))


def test_a_name_of_another_world_is_refused_with_the_known_names() -> None:
    with pytest.raises(UserError, match="'attributes' is no reward of the world real") as caught:
        registry.locate("reward", "attributes", REAL)
    assert "pickscore" in str(caught.value.hint)


def test_every_reward_of_every_world_has_its_name() -> None:
    for world in WORLDS.values():
        for name in registry.names("reward", world):
            assert registry.load("reward", name, world).name == name


def changed(tmp_path: Any, tiny_data: dict[str, Any], **changes: Any) -> str:
    return write_sequence(tmp_path / "mine.yaml", tiny_data, **changes)


def test_a_sequence_can_state_the_world_of_its_model(tmp_path: Any, tiny_data: dict[str, Any]) -> None:
    tasks = [{"reward": "aesthetic"}]
    real = load_sequence(changed(tmp_path, tiny_data, tasks=tasks))
    assert real.reward("aesthetic").__name__ == "Aesthetic"
    shapes = load_sequence(changed(tmp_path, tiny_data, tasks=tasks, world="shapes"))
    assert shapes.reward("aesthetic").__name__ == "ShapesAesthetic"
    assert shapes.sha256 != real.sha256
    with pytest.raises(
        UserError, match=r"mine.yaml:\d+: world: no world is called 'shape'; did you mean 'shapes'"
    ):
        load_sequence(changed(tmp_path, tiny_data, world="shape"))


def test_a_probe_of_another_world_is_a_fault_with_its_line(tmp_path: Any, tiny_data: dict[str, Any]) -> None:
    evaluation = {**tiny_data["evaluation"], "probes": ["attributes"]}
    with pytest.raises(UserError, match=r"mine.yaml:\d+: evaluation.probes.1: 'attributes' is no reward of"):
        load_sequence(changed(tmp_path, tiny_data, evaluation=evaluation))
    load_sequence(changed(tmp_path, tiny_data, evaluation=evaluation, world="shapes"))


def test_another_world_is_another_step_0() -> None:
    assert plan_run("shapes-smoke", "naive", settings={"budget.updates": 3}).comparable
    changes = {"world": "real", "evaluation.probes": []}
    assert not plan_run("shapes-smoke", "naive", settings=changes).comparable


def test_the_table_names_only_modules_of_worlds_and_below() -> None:
    """These names are strings, so the layer test cannot see them."""
    below = {
        "worlds",
        "rewards",
        "diffusion",
        "remote",
        "machine",
        "storage",
        "metrics",
        "draws",
        "config",
        "errors",
    }
    for world in WORLDS.values():
        for reference in (world.extractors, *rewards_of(world).values()):
            module, _, name = reference.partition(":")
            assert module.split(".")[1] in below
            assert hasattr(importlib.import_module(module), name)
