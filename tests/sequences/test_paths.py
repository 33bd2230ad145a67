"""Paths in a file are relative to it; paths in settings are relative to the current folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from ril_bench.errors import UserError
from ril_bench.sequences.paths import absolute_paths, as_written
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.studies.grid.axes import axes, plans
from tests.tiny import PROMPTS, write_sequence

REWARD = "from ril_bench.rewards.pixels import Brightness\n\n\nclass Glow(Brightness):\n    pass\n"
TUNER = "from ril_bench import Tuner\n\n\nclass Mine(Tuner):\n    pass\n"


@pytest.fixture
def project(tmp_path, tiny_data):
    """A sequence with its own files beside it."""
    folder = tmp_path / "project"
    (folder / "prompts").mkdir(parents=True)
    (folder / "prompts/train.txt").write_text("\n".join(PROMPTS))
    (folder / "glow.py").write_text(REWARD)
    (folder / "mine.py").write_text(TUNER)
    write_sequence(
        folder / "own.yaml",
        tiny_data,
        prompts={"train": "prompts/train.txt", "eval": "./prompts/train.txt"},
        tasks=[{"reward": "glow.py"}, {"reward": "symmetry", "tuner": {"name": "./mine.py"}}],
    )
    return folder


def test_a_sequence_finds_its_files_from_any_folder(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sequence = load_sequence("./project/own.yaml")
    assert sequence.prompts.train == sequence.prompts.eval == str(project / "prompts/train.txt")
    assert sequence.task(2).tuner.name == str(project / "mine.py")
    assert sequence.order == ["glow", "symmetry"]
    assert sequence.reward("glow").__name__ == "Glow"


def test_a_setting_is_relative_to_the_current_folder(project, tmp_path, monkeypatch):
    (tmp_path / "others.txt").write_text("a green ring")
    monkeypatch.chdir(tmp_path)
    assert load_sequence("project/own.yaml", {"prompts.eval": "others.txt"}).prompts.eval == "others.txt"
    with pytest.raises(UserError, match=r"--set prompts\.eval: .*no prompts at prompts/train\.txt"):
        load_sequence("project/own.yaml", {"prompts.eval": "prompts/train.txt"})


def test_a_moved_project_keeps_its_digest(project, tmp_path):
    before = load_sequence(str(project / "own.yaml")).sha256
    moved = shutil.move(project, tmp_path / "elsewhere")
    assert load_sequence(str(moved / "own.yaml")).sha256 == before


def test_a_grid_finds_its_files_from_any_folder(project, tmp_path, monkeypatch):
    method = "from ril_bench import Method\n\n\nclass Mine(Method):\n    pass\n"
    (project / "method.py").write_text(method)
    grid = {
        "sequences": ["own.yaml"],
        "methods": ["naive", {"name": "./method.py"}],
        "tuners": ["./mine.py"],
        "set": {"prompts.train": "./prompts/train.txt"},
    }
    (project / "grid.yaml").write_text(yaml.safe_dump(grid))
    monkeypatch.chdir(tmp_path)
    found = plans(axes(Path("project/grid.yaml"), {}))
    assert [plan.method for plan in found] == ["naive", str(project / "method.py")]
    assert {plan.sequence.prompts.train for plan in found} == {str(project / "prompts/train.txt")}
    with pytest.raises(UserError, match=r"no sequence at own\.yaml"):
        plans(axes(Path("project/grid.yaml"), {"sequences": ["own.yaml"]}))


def test_names_and_absolute_paths_do_not_change():
    data = {
        "name": "own.yaml",
        "model": "owner/name",
        "prompts": {"train": "shapes/train", "eval": "/data/eval.txt"},
        "tuner": {"name": "sft", "images": "shapes/aesthetic"},
        "evaluation": {"probes": ["attributes", "~/mine.py"]},
    }
    assert absolute_paths(data, Path("/x")) == (data, {})


def test_image_sets_are_folders():
    found, written = absolute_paths({"tuner": {"name": "sft", "images": "photos"}}, Path("/x"))
    assert found == {"tuner": {"name": "sft", "images": "/x/photos"}}
    assert as_written(found, written) == {"tuner": {"name": "sft", "images": "photos"}}
