"""The inputs of a run: any change of a content is noticed, and nothing else is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ril_bench.data.prompts import load_prompts
from ril_bench.errors import UserError
from ril_bench.running.inputs import (
    Inputs,
    changes,
    inputs_of,
    inputs_of_method,
    refuse_changes,
    step_zero_key,
    steps_key,
    unit_key,
)
from ril_bench.running.plan import plan_run
from ril_bench.sequences.sequence_file import load_sequence

REWARD = """
import brightener
from parts import light
from ril_bench.rewards.base import Reward
class Mine(Reward):
    name, unit, weights = "mine", "levels", (__import__("pathlib").Path(__file__).with_name("weights.bin"),)
"""
METHOD = """
import importlib
from ril_bench.methods import Method
class Mine(Method):
    def start_task(self, task, model):
        importlib.import_module("helper").go()
"""
FILES = {  # -> the use that a change of the file is reported for
    "train.txt": "prompts of task 1",
    "other.csv": "prompts of task 2",
    "eval.jsonl": "prompts of the evaluation",
    "pictures/metadata.csv": "images of task 1",
    "pictures/deep/1.png": "images of task 1",
    "code/mine.py": "reward mine",
    "code/brightener.py": "reward mine",
    "code/parts/__init__.py": "reward mine",
    "code/parts/light.py": "reward mine",
    "code/weights.bin": "reward mine",
    "methods/mine.py": "method",
    "methods/helper.py": "method",
    "model/model_index.json": "model",
    "model/unet/config.json": "model",
    "model/unet/diffusion_pytorch_model.safetensors": "model",
    "model/vae/config.json": "model",
    "model/tokenizer/merges.txt": "model",
    "sequence.yaml": "settings of the sequence",
}
SEQUENCE: dict[str, Any] = {
    "name": "sandbox",
    "version": 1,
    "model": "./model",
    "prompts": {"train": "train.txt", "eval": "./eval.jsonl"},
    "sampler": {"steps": 3, "guidance": 3.0, "eta": 1.0},
    "adapter": {"rank": 2, "alpha": 2, "targets": ["to_q"]},
    "tuner": {"name": "sft", "images": "./pictures"},
    "optimizer": {"lr": 0.05, "weight_decay": 1e-4, "max_grad_norm": 1.0},
    "budget": {"updates": 2, "batch": 2},
    "tasks": [
        {"reward": "./code/mine.py"},
        {"reward": "brightness", "prompts": {"train": "other.csv"}, "tuner": {"name": "draft"}},
    ],
    "evaluation": {"prompts": 2, "images_per_prompt": 2, "seed": 5, "probes": ["symmetry"]},
}


def sandbox(folder: Path) -> Path:
    """A sequence with every kind of input, below a folder; its unet is a link. Returns the folder."""
    contents = dict.fromkeys(FILES, "a = 1\n") | {
        "train.txt": "a cat\na dog\n",
        "other.csv": "number,prompt\n1,a cat\n2,a dog\n",
        "eval.jsonl": '{"prompt": "a cat"}\n{"prompt": "a dog"}\n',
        "code/mine.py": REWARD,
        "methods/mine.py": METHOD,
        "sequence.yaml": yaml.safe_dump(SEQUENCE),
    }
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "model" / "unet").rename(folder / "denoiser")
    (folder / "model" / "unet").symlink_to(folder / "denoiser")
    return folder


def inputs(folder: Path, sequence: str = "sequence.yaml") -> Inputs:
    found = load_sequence(str(folder / sequence))
    return inputs_of(found) | inputs_of_method(str(folder / "methods" / "mine.py"))


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sandbox whose reward can import its modules."""
    monkeypatch.syspath_prepend(str(sandbox(tmp_path / "here") / "code"))
    return tmp_path / "here"


def changed_letter(path: Path) -> None:
    """Changes one letter of a text, and keeps its size and its time of modification."""
    before, text = path.stat(), path.read_text()
    old, new = {
        "train.txt": ("cat", "cab"),
        "other.csv": ("cat", "cab"),
        "eval.jsonl": ("cat", "cab"),
        "mine.py": ("Mine", "Mime"),
        "sequence.yaml": ("rank: 2", "rank: 3"),
    }.get(path.name, ("1", "2"))
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(("name", "use"), FILES.items())
def test_a_change_of_any_file_is_named(code: Path, name: str, use: str) -> None:
    before = inputs(code)
    changed_letter(code / name)
    (found,) = changes(before, inputs(code))
    assert found.startswith(use)
    if name not in ("sequence.yaml",):
        assert Path(name).name in found
    with pytest.raises(UserError, match="inputs of this run changed") as caught:
        refuse_changes(before, inputs(code), code, complete=False)
    assert "--out" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("old", "new", "source"),
    [
        ("brightness", "./others/brightness.py", "the reward brightness"),
        ("symmetry", "./others/symmetry.py", "the reward symmetry"),
        ("draft", "./others/draft.py", "the tuner of task 2"),
    ],
)
def test_a_file_of_the_user_is_never_taken_for_what_ships_under_its_name(
    code: Path, old: str, new: str, source: str
) -> None:
    (code / "others").mkdir()
    for name, cls in {"brightness": "Brightness", "symmetry": "Symmetry"}.items():
        (code / f"others/{name}.py").write_text(
            f"from ril_bench.rewards.pixels import {cls}\nclass Mine({cls}):\n    pass\n"
        )
    (code / "others/draft.py").write_text(
        "from ril_bench.tuners.draft import Draft\nclass Mine(Draft):\n    pass\n"
    )
    (code / "own.yaml").write_text((code / "sequence.yaml").read_text().replace(old, new))
    ships, own = inputs(code), inputs(code, "own.yaml")
    for before, after in ((ships, own), (own, ships)):
        for complete in (False, True):
            with pytest.raises(UserError, match=f"source of {source}"):
                refuse_changes(before, after, code, complete=complete)


def test_nothing_changed(code: Path) -> None:
    before = inputs(code)
    for file in code.rglob("*"):
        os.utime(file)
    assert changes(before, inputs(code)) == []


def test_a_link_that_is_turned_to_other_weights(code: Path) -> None:
    before = inputs(code)
    shutil.copytree(code / "denoiser", code / "other")
    changed_letter(code / "other" / "diffusion_pytorch_model.safetensors")
    (code / "model" / "unet").unlink()
    (code / "model" / "unet").symlink_to(code / "other")
    assert changes(before, inputs(code)) == ["model (unet/diffusion_pytorch_model.safetensors)"]


def test_the_same_contents_elsewhere_are_no_change(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inputs(code)
    there = code.with_name("there")
    shutil.copytree(code, there, symlinks=False)
    assert changes(before, inputs(there)) == []
    (there / "train.txt").rename(there / "moved.txt")
    moved = {**SEQUENCE, "prompts": {"train": str(there / "moved.txt"), "eval": "./eval.jsonl"}}
    (there / "renamed.yaml").write_text(yaml.safe_dump(moved))
    assert changes(before, inputs(there, "renamed.yaml")) == []
    monkeypatch.chdir(there)
    assert changes(before, inputs(Path(), "renamed.yaml")) == []


def test_what_no_result_depends_on_is_no_change(code: Path) -> None:
    before = inputs(code)
    (code / "other.csv").write_text("prompt,note\n  a cat ,x\na dog,y\n")  # other columns, the same prompts
    (code / "eval.jsonl").open("a").write('{"prompt": "a third one that is not evaluated"}\n')
    (code / "code" / "unrelated.py").write_text("")
    (code / "model" / "README.md").write_text("")
    (code / "sequence.yaml").write_text("# a comment\n" + yaml.safe_dump(SEQUENCE, sort_keys=False))
    assert changes(before, inputs(code)) == []


def test_other_packages_are_refused_until_a_run_is_complete(code: Path) -> None:
    before = inputs(code)
    now = {**before, "packages": {**before["packages"], "torch": "9.9"}}
    assert changes(before, now) == ["packages (torch)"]
    refuse_changes(before, now, code, complete=True)
    with pytest.raises(UserError, match=r"packages \(torch\)"):
        refuse_changes(before, now, code, complete=False)


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12")))
)
def test_equal_inputs_are_never_refused_and_one_other_digest_always_is(found: Inputs) -> None:
    assert changes(found, {use: dict(files) for use, files in found.items()}) == []
    for use, files in found.items():
        for name in files:
            other = {**found, use: {**files, name: "3"}}
            assert changes(found, other) == changes(other, found) == [f"{use} ({name})"]


# -- keys of what runs share ---------------------------------------------------------------------------------

#: files that decide step 0; the others decide only what is trained
ZERO = ("eval.jsonl", "code/mine.py", "code/brightener.py", "code/weights.bin", "model/vae/config.json")


@pytest.mark.parametrize("name", FILES)
def test_the_keys_of_shared_results_have_all_that_they_depend_on(code: Path, name: str) -> None:
    def keys() -> list[Any]:
        plan = plan_run(str(code / "sequence.yaml"), str(code / "methods/mine.py"))
        found = inputs(code)
        steps = [steps_key(plan.sequence, {"name": "mine"}, 0, found, i, {"cpu": "x"}) for i in (1, 2)]
        unit = unit_key(
            plan.sequence, found, "mine", load_prompts(plan.sequence.task(1).prompts.train), {"cpu": "x"}
        )
        return [step_zero_key(plan.sequence, found, {"cpu": "x"}), *steps, unit]

    before = keys()
    changed_letter(code / name)
    after = keys()
    of_zero = name in ZERO or FILES[name] in ("reward mine", "model")
    assert (before[0] != after[0]) == of_zero
    assert (before[1] != after[1]) == (name != "other.csv")  # only task 2 reads these prompts
    assert before[2] != after[2]
    of_unit = FILES[name] in ("reward mine", "model", "prompts of task 1")
    assert (before[3] != after[3]) == of_unit


def test_the_key_of_step_zero_has_the_settings_of_step_zero() -> None:
    def key(**changed: Any) -> Any:
        sequence = load_sequence("shapes-ril", {name.replace("__", "."): v for name, v in changed.items()})
        return step_zero_key(sequence, inputs_of(sequence), {"threads": 1})

    same = key()
    assert same == key(optimizer__lr=1.0) == key(evaluation__every=5) == key(budget__updates=3)
    other = [
        key(sampler__steps=4),
        key(sampler__guidance=2.0),
        key(evaluation__seed=6),
        key(evaluation__prompts=9),
    ]
    assert all(one != same for one in other)
    sequence = load_sequence("shapes-ril")
    assert step_zero_key(sequence, inputs_of(sequence), {"threads": 2}) != same
