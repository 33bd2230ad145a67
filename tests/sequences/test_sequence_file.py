"""Files of sequences: which are read, which are refused, and how faults are reported."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ril_bench import registry
from ril_bench.config.settings import UNCHANGED
from ril_bench.errors import UserError
from ril_bench.sequences.sequence_file import load_sequence, read_sequence
from ril_bench.sequences.spec import Sequence

PLAIN: dict[str, Any] = {
    "name": "mine",
    "version": 3,
    "model": "shapes-64",
    "prompts": {"train": "shapes/train", "eval": "shapes/eval"},
    "sampler": {"steps": 20, "guidance": 3.0, "eta": 1.0},
    "adapter": {"rank": 8, "alpha": 8, "targets": ["to_q", "to_out.0"]},
    "tuner": {"name": "draft", "k": 1},
    "optimizer": {"lr": 1e-3, "weight_decay": 1e-4, "max_grad_norm": 1.0},
    "budget": {"updates": 60, "batch": 8},
    "tasks": [
        {"reward": "aesthetic"},
        {"reward": "brightness", "budget": {"updates": 5}, "tuner": {"k": "full"}},
    ],
    "evaluation": {"prompts": 64, "images_per_prompt": 2, "seed": 2024, "probes": ["attributes"]},
}


def written(folder: Path, data: Any, name: str = "mine.yaml") -> str:
    file = folder / name
    file.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False))
    return str(file)


def faults(path: str, settings: Mapping[str, Any] = UNCHANGED) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_sequence(path, settings)
    assert caught.value.exit_code == 2
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


@pytest.mark.parametrize("name", registry.names("sequence"))
def test_a_shipped_sequence_is_valid_and_has_the_name_of_its_file(name: str) -> None:
    assert load_sequence(name).name == name


def test_tasks_hold_what_they_inherit(tmp_path: Path) -> None:
    sequence = load_sequence(written(tmp_path, PLAIN))
    assert sequence.order == ["aesthetic", "brightness"]
    first, second = sequence.task(1), sequence.task(2)
    assert first.budget == sequence.budget
    assert (second.budget.updates, second.budget.batch) == (5, 8)
    assert second.tuner.name == "draft"
    assert second.tuner.options == {"k": "full"}
    assert second.prompts.train == "shapes/train"
    for i in (0, 3):
        with pytest.raises(IndexError):
            sequence.task(i)


def test_a_tuners_options_go_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "other.py").touch()
    data = copy.deepcopy(PLAIN)
    data["tasks"][1]["tuner"] = {"name": str(tmp_path / "other.py"), "beta": 2}
    assert load_sequence(written(tmp_path, data)).task(2).tuner.options == {"beta": 2}


def test_the_resolved_sequence_reads_back_from_json(tmp_path: Path) -> None:
    sequence = load_sequence(written(tmp_path, PLAIN))
    again = Sequence.model_validate(json.loads(json.dumps(sequence.model_dump(mode="json"))))
    assert again.sha256 == sequence.sha256
    assert again.tasks == sequence.tasks


def test_the_digest_depends_only_on_the_values(tmp_path: Path) -> None:
    sequence = load_sequence(written(tmp_path, PLAIN))
    data = dict(reversed(PLAIN.items())) | {"sampler": {"eta": 1, "guidance": 3, "steps": 20}}
    data["budget"] = {"micro_batch": None, **PLAIN["budget"]}
    assert load_sequence(written(tmp_path, data)).sha256 == sequence.sha256
    assert load_sequence(written(tmp_path, PLAIN), {"sampler.steps": 21}).sha256 != sequence.sha256


def test_all_faults_at_once_each_with_its_line_and_key(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
name: mine
version: true
model: shapes-46
prompts: {train: shapes/tran, eval: missing.txt}
sampler: {steps: 20, guidance: 3.0, eta: 1.0, eta: 0}
adapter: {rank: 8.5, alpha: 8, targets: []}
tuner: {name: drafft}
optimzer: {lr: 1e-3}
budget: {updates: 0, batch: 8}
tasks:
  - reward: aestetic
    budget:
      batsh: 3
  - {}
  - reward: symmetry
evaluation: {prompts: 64, images_per_prompt: 2, seed: 1, probes: [symmetry]}
""",
    )
    expected = [
        (1, "optimizer", "missing"),
        (2, "version", "valid integer"),
        (3, "model", "did you mean 'shapes-64'"),
        (4, "prompts.train", "did you mean 'shapes/train'"),
        (4, "prompts.eval", f"no prompts at {tmp_path}/missing.txt"),
        (5, "sampler.eta", "given twice"),
        (6, "adapter.rank", "valid integer"),
        (6, "adapter.targets", "at least 1 item"),
        (7, "tuner.name", "did you mean 'draft'"),
        (8, "optimzer", "did you mean 'optimizer'"),
        (9, "budget.updates", "greater than or equal to 1"),
        (11, "tasks.1.reward", "did you mean 'aesthetic'"),
        (13, "tasks.1.budget.batsh", "did you mean 'batch'"),
        (14, "tasks.2.reward", "missing"),
        (16, "evaluation.probes.1", f"already the reward at {path}:15"),
    ]
    found = faults(path)
    assert len(found) == len(expected)
    for line, key, what in expected:
        assert any(fault.startswith(f"{path}:{line}: {key}: ") and what in fault for fault in found), (
            key,
            found,
        )


def test_a_fault_that_tasks_inherit_is_reported_once(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN | {"optimizer": {"lr": "fast", "weight_decay": 0, "max_grad_norm": 1}})
    assert len(faults(path)) == 1


def test_numbers_in_a_tuners_options_are_numbers_too(tmp_path: Path) -> None:
    text = yaml.safe_dump(PLAIN).replace("k: 1", "k: 1e-4")
    assert load_sequence(written(tmp_path, text)).tuner.options == {"k": 1e-4}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("name: [1, 2\nversion: 1", ":2:"),
        ("a: &x 1\nb: *x", ":1:4"),
        ("a: !!python/object:os.system 1", ":1:4"),
        ("a: 1\n--- \nb: 2", ":2:1"),
        ("\t- a", ":1:1"),
        ("a: \x07", "mine.yaml"),
        ("[" * 2000, "mine.yaml"),
    ],
)
def test_text_that_is_not_yaml_is_refused_with_its_place(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(UserError, match="not valid YAML") as caught:
        load_sequence(written(tmp_path, text))
    assert where in str(caught.value.where)


@pytest.mark.parametrize("text", ["", "5", "[]", "tasks: 3", "tasks: [1]", "{[a]: b}", "sampler: []", "~: ~"])
def test_data_of_another_shape_raises_faults_and_no_crash(tmp_path: Path, text: str) -> None:
    assert faults(written(tmp_path, text))


def test_a_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sequence at"):
        load_sequence(str(tmp_path / "none.yaml"))
    (tmp_path / "latin.yaml").write_bytes("name: \xe9".encode("latin-1"))
    with pytest.raises(UserError, match="cannot read"):
        load_sequence(str(tmp_path / "latin.yaml"))
    with pytest.raises(UserError, match="did you mean 'shapes-ril'"):
        load_sequence("shapes-rli")


def test_settings_change_the_sequence(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    sequence = load_sequence(
        path,
        {
            "optimizer.lr": 1e-5,
            "tasks.1.budget.updates": 7,
            "tasks.2.reward": "symmetry",
            "evaluation.probes": [],
        },
    )
    assert sequence.task(1).optimizer.lr == 1e-5
    assert sequence.task(1).budget.updates == 7
    assert sequence.order == ["aesthetic", "symmetry"]
    assert sequence.evaluation.probes == []


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("budget.updates", "ten", "budget.updates: should be a valid integer, not 'ten'"),
        ("budget.update", 10, "did you mean 'updates'"),
        ("what.is.this", 1, "what: unknown key"),
        ("tasks.0.reward", "symmetry", "'0' is not one of 1 to 2"),
        ("tasks.3.reward", "symmetry", "'3' is not one of 1 to 2"),
        ("name.first", "x", "cannot hold keys"),
        ("sampler.eta", 1e-170, "choose 0, or 0.001 to 1"),
        ("sampler.size", 72, "this world judges images of 64 pixels"),
        ("sampler.steps", 1, "sampler.steps: should be greater than or equal to 2, not 1"),
        ("evaluation.prompts", 1, "evaluation.prompts: should be greater than or equal to 2, not 1"),
        ("name", "../x", "name: "),
        ("name", "x" * 300, "name: "),
    ],
)
def test_a_faulty_setting_is_named(tmp_path: Path, key: str, value: Any, what: str) -> None:
    (fault,) = faults(written(tmp_path, PLAIN), {key: value})
    assert fault.startswith(f"--set {key}: ")
    assert what in fault


def test_a_file_is_read_once_and_resolved_many_times(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    file = read_sequence(path)
    Path(path).unlink()
    tuner = {"name": "refl"}
    other = file.resolve({"tuner": tuner, "tuner.last": 0.5})
    assert other.tuner.options == {"last": 0.5}
    assert tuner == {"name": "refl"}
    assert file.resolve(tuner="refl").tuner.options == {}
    assert file.resolve(tuner="draft").tuner.options == file.resolve().tuner.options == {"k": 1}


def paths(data: Any, key: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [key] * bool(key) + [found for part, item in items for found in paths(item, (*key, part))]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=50, deadline=None)
@given(key=st.sampled_from(paths(PLAIN)), value=VALUES)
def test_one_changed_value_gives_a_sequence_or_its_faults(
    tmp_path_factory: pytest.TempPathFactory, key: tuple[str | int, ...], value: Any
) -> None:
    data = copy.deepcopy(PLAIN)
    holder: Any = data
    for part in key[:-1]:
        holder = holder[part]
    holder[key[-1]] = value
    folder = tmp_path_factory.getbasetemp()
    path = written(folder, json.dumps(data), "changed.yaml")
    try:
        sequence = load_sequence(path)
    except UserError as error:
        head, *lines = str(error).splitlines()
        assert re.search(r"has (a fault|\d+ faults):$", head) or "not valid YAML" in head
        assert lines
    else:
        assert [task.reward for task in sequence.tasks] == sequence.order
