"""A dry run states what the run then records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import ril_bench
from ril_bench import registry
from ril_bench.errors import UserError
from tests.tiny import write_sequence


def test_a_preview_has_the_values_of_all_options_that_the_run_records(
    tiny_data: dict[str, object], tmp_path: Path
) -> None:
    tasks = [{"reward": "brightness"}, {"reward": "symmetry", "tuner": {"name": "refl"}}]
    sequence = write_sequence(tmp_path / "two.yaml", tiny_data, tasks=tasks)
    settings = {"method.strength": 3.0, "tuner.cap": 2.0, "budget.updates": 1}
    found = ril_bench.preview(sequence, method="l2", settings=settings, out=tmp_path)
    assert (found.state, found.faults) == ("new", [])
    draft, refl = (registry.load("tuner", name).Options for name in ("draft", "refl"))
    assert found.configuration["tuners"] == [
        {"name": "draft", "resolved": draft(k=1, cap=2.0).model_dump(mode="json")},
        {"name": "refl", "resolved": refl().model_dump(mode="json")},
    ]
    assert yaml.safe_load(str(found).partition("\n\n")[0]) == found.configuration
    run = ril_bench.run(sequence, method="l2", settings=settings, out=tmp_path, quiet=True)
    recorded = json.loads((run.path / "run.json").read_text())
    assert found.folder == run.path
    assert found.configuration["tuners"] == recorded["tuners"]
    assert found.configuration["method"]["options"] == recorded["method"]["resolved"]
    assert ril_bench.preview(sequence, method="l2", settings=settings, out=tmp_path).state == "complete"


@pytest.mark.parametrize("tuner", [{"name": "spin", "images": "shapes"}, {"name": "draft", "k": 3}])
def test_a_preview_keeps_the_options_of_the_tuner_that_the_sequence_has(
    tiny_data: dict[str, object], tmp_path: Path, tuner: dict[str, object]
) -> None:
    sequence = write_sequence(tmp_path / "one.yaml", tiny_data, tuner=tuner)
    own, named = (
        ril_bench.preview(sequence, method="naive", tuner=name, out=tmp_path)
        for name in (None, tuner["name"])
    )
    assert named == own
    assert named.faults == []


def test_a_wrong_option_of_a_tuner_is_refused(tiny_sequence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown option 'kk'"):
        ril_bench.preview(tiny_sequence, method="naive", settings={"tuner.kk": 3}, out=tmp_path)
