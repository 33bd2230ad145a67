"""Many runs as one table: intervals from five runs on, points below, holes and mixed scales refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ril_bench import summary
from ril_bench.errors import UserError
from tests.pages.synthetic import write_run


def runs(folder: Path, count: int, **options: object) -> list[Path]:
    return [
        write_run(folder / f"seed-{seed}", seed=seed, prompts=3, pixels=16, updates=1, **options)  # type: ignore[arg-type]
        for seed in range(count)
    ]


def bwt(folder: Path) -> float:
    return float(json.loads((folder / "metrics.json").read_text())["continual"]["normalised"]["BWT"])


def test_five_runs_get_a_student_interval(tmp_path: Path) -> None:
    folders = runs(tmp_path, 5)
    values = np.array([bwt(folder) for folder in folders])
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    (row,) = summary.table(folders).to_dict("records")
    assert row["BWT"] == f"{values.mean():.3g} [{low:.3g}, {high:.3g}]"
    assert row["runs"] == 5


def test_fewer_runs_are_shown_one_by_one(tmp_path: Path) -> None:
    folders = runs(tmp_path, 2)
    (row,) = summary.table(folders).to_dict("records")
    assert row["BWT"] == ", ".join(f"{bwt(folder):.3g}" for folder in folders)


def test_markdown_has_a_column_for_each_method(tmp_path: Path) -> None:
    folders = runs(tmp_path / "a", 1) + runs(tmp_path / "b", 1, method="rid")
    lines = summary.markdown(summary.table(folders)).splitlines()
    assert "naive" in lines[0]
    assert "rid" in lines[0]
    assert {line.count("|") for line in lines} == {4}


def test_an_unfinished_run_is_refused_and_named(tmp_path: Path) -> None:
    folders = runs(tmp_path / "a", 1) + runs(tmp_path / "b", 1, status="running")
    with pytest.raises(UserError, match="not complete") as caught:
        summary.table(folders)
    assert str(folders[1]) in str(caught.value)


def test_normalised_and_plain_runs_do_not_mix(tmp_path: Path) -> None:
    folders = runs(tmp_path / "a", 1) + runs(tmp_path / "b", 1, calibrated=False)
    with pytest.raises(UserError, match="some are not"):
        summary.table(folders)
