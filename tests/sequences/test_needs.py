"""The files that a sequence needs."""

from __future__ import annotations

from typing import Any

import pytest

from ril_bench.remote.search import FOLDER
from ril_bench.sequences.needs import missing_needs, needs_of, optional_files, required_files
from ril_bench.sequences.sequence_file import load_sequence
from tests.tiny import write_sequence


def test_the_shipped_sequences_of_shapes_need_no_file() -> None:
    spec = load_sequence("shapes-ril")
    assert required_files(spec) == optional_files(spec) == missing_needs(needs_of(spec)) == []


def test_what_rewards_need_is_required_and_what_metrics_need_is_optional(
    tmp_path: Any, tiny_data: dict[str, Any]
) -> None:
    tasks = [{"reward": "aesthetic"}, {"reward": "hpsv2.1"}, {"reward": "compressibility"}]
    spec = load_sequence(write_sequence(tmp_path / "mine.yaml", tiny_data, tasks=tasks))
    assert {file.name for file in required_files(spec)} == {"clip-vit-l-14", "aesthetic-head", "hpsv2.1"}
    optional = {"inception", "alexnet", "lpips-alex", "dinov2-large"}
    assert {file.name for file in optional_files(spec)} == optional
    needs = needs_of(spec)
    assert {need.what for need in needs if need.optional} == optional
    assert {need.what for need in missing_needs(needs)} == {file.name for file in required_files(spec)}


def test_named_prompts_are_needed_too() -> None:
    changes = {"prompts.train": "animals", "prompts.eval": "animals/eval"}
    found = required_files(load_sequence("shapes-smoke", changes))
    assert [file.name for file in found] == ["animals", "animals-eval"]


def test_prompts_in_the_folder_of_weights_are_here(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `load_prompts` finds them."""
    spec = load_sequence("shapes-smoke", {"prompts.eval": "drawbench"})
    assert [need.what for need in missing_needs(needs_of(spec))] == ["prompts drawbench"]
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / "drawbench.csv").write_text("Prompts\nA red car.\n")
    assert missing_needs(needs_of(spec)) == []


def test_every_need_is_listed_once() -> None:
    found = needs_of(load_sequence("sd15-ril"))
    assert len({(need.what, need.source) for need in found}) == len(found)
