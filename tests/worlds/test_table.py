"""Whose reward a name means: the model's world decides, and a name of another world is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ril_bench import registry
from ril_bench.diagnosis.needs import published_files
from ril_bench.errors import UserError
from ril_bench.remote.published import FILES, published
from ril_bench.running.plan import plan_run
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.worlds.table import REAL, SHAPES, WORLDS, world_of
from tests.tiny import write_sequence


def test_a_model_draws_in_one_world() -> None:
    assert world_of("shapes-64") is SHAPES
    for model in ("stable-diffusion-v1-5/stable-diffusion-v1-5", "./shapes-64", None):
        assert world_of(model) is REAL
    assert {model for world in WORLDS.values() for model in world.models} == set(registry.names("model"))


def test_a_name_means_the_worlds_own_reward() -> None:
    assert registry.locate("reward", "aesthetic", SHAPES) == SHAPES.rewards["aesthetic"]
    assert registry.locate("reward", "aesthetic", REAL) == REAL.rewards["aesthetic"]
    assert registry.locate("reward", "aesthetic") == REAL.rewards["aesthetic"]
    assert registry.locate("reward", "attributes") == SHAPES.rewards["attributes"]
    for world in WORLDS.values():
        assert {"compressibility", "aesthetic"} <= set(registry.names("reward", world))


def test_a_name_of_another_world_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="'attributes' is no reward of the world real") as caught:
        registry.locate("reward", "attributes", REAL)
    assert "pickscore" in str(caught.value.hint)


def test_every_reward_of_every_world_says_what_it_is() -> None:
    for world in WORLDS.values():
        for name in registry.names("reward", world):
            assert registry.load("reward", name, world).name == name


def changed(tmp_path: Any, tiny_data: dict[str, Any], **changes: Any) -> str:
    return write_sequence(tmp_path / "mine.yaml", tiny_data, **changes)


def test_a_sequence_says_the_world_of_a_model_of_its_own(tmp_path: Any, tiny_data: dict[str, Any]) -> None:
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


def test_shipped_sequences_of_shapes_need_no_file() -> None:
    assert published_files(load_sequence("shapes-ril")) == []


def test_what_a_sequence_needs_is_what_its_rewards_and_measures_load(
    tmp_path: Any, tiny_data: dict[str, Any]
) -> None:
    tasks = [{"reward": "aesthetic"}, {"reward": "hpsv2.1"}, {"reward": "compressibility"}]
    found = published_files(load_sequence(changed(tmp_path, tiny_data, tasks=tasks)))
    of_rewards = {"clip-vit-l-14", "aesthetic-head", "hpsv2.1"}
    assert of_rewards <= {file.name for file in found}
    assert {file.name for file in found} - of_rewards == {
        "inception",
        "alexnet",
        "lpips-alex",
        "dinov2-large",
    }


def test_named_prompts_are_needed_too() -> None:
    changes = {"prompts.train": "animals", "prompts.eval": "animals/eval"}
    found = published_files(load_sequence("shapes-smoke", changes))
    assert [file.name for file in found] == ["animals", "animals-eval"]


def test_the_table_names_each_user_of_a_file() -> None:
    for name in registry.names("reward", REAL):
        files = set(registry.load("reward", name, REAL).weights)
        assert files == {file for file in FILES if name in file.used_by}, name


def test_the_table_is_well_formed() -> None:
    assert len({file.name for file in FILES}) == len({file.url for file in FILES}) == len(FILES)
    for file in FILES:
        assert file.sha256 is None or (len(file.sha256) == 64 and int(file.sha256, 16))
        assert file.revision is None or (len(file.revision) == 40 and int(file.revision, 16))
        assert file.revision or not file.on_hub
        assert file.used_by
    with pytest.raises(KeyError, match="did you mean 'hpsv2"):
        published("hpsv3")


def test_asking_what_is_needed_imports_no_torch() -> None:
    code = (
        "import sys; from ril_bench.diagnosis.needs import published_files;"
        "from ril_bench.sequences.sequence_file import load_sequence;"
        "changes = {'world': 'real', 'evaluation.probes': [], 'tasks.2.reward': 'pickscore'};"
        "[f.cached_path() for f in published_files(load_sequence('shapes-ril', changes))];"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
