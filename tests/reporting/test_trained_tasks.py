"""How each task was trained, on the page of a run and in Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ril_bench.api.notebook import Run
from ril_bench.reporting.columns import COLUMNS
from ril_bench.reporting.film import Images
from ril_bench.reporting.run_page import run_page
from ril_bench.storage.read import StoredRun
from tests.reporting.synthetic import write_run

UNITS = {"aesthetic": {"b": 5.5, "sigma": 1.5, "images": 128}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of an oracle with criteria; its third task has none, as in a run of an earlier version."""
    folder = write_run(tmp_path / "run", tasks=3)
    info = json.loads((folder / "run.json").read_text())
    info["units"] = UNITS
    gain = {"aesthetic": 0.52, "compressibility": 0.31}
    info["steps"][1] |= {"updates": 18, "met": True, "gain": {"aesthetic": 0.51}}
    info["steps"][2] |= {"updates": 60, "met": False, "gain": gain}
    (folder / "run.json").write_text(json.dumps(info))
    return folder


def test_the_table_in_python(folder):
    tasks = Run(folder).tasks
    assert list(tasks.index) == [1, 2, 3]
    assert list(tasks["reward"]) == ["aesthetic", "compressibility", "brightness"]
    first, second, third = (row for _, row in tasks.iterrows())
    assert (first["b"], first["sigma"], first["updates"], first["gain"], first["met"]) == (
        5.5,
        1.5,
        18,
        0.51,
        True,
    )
    assert (second["updates"], second["gain"], second["met"]) == (60, 0.31, False)
    assert third[["b", "sigma", "gain", "met"]].isna().all()
    assert third["updates"] == 60  # not recorded: all of the budget


def test_the_updates_of_a_consolidation_count_everywhere(folder):
    """opd spends a consolidation on top of each task's budget: 18 + 40, 60 + 0, and a task without one."""
    info = json.loads((folder / "run.json").read_text())
    info["steps"][1]["consolidation_updates"] = 40
    info["steps"][2]["consolidation_updates"] = 0
    (folder / "run.json").write_text(json.dumps(info))
    assert list(Run(folder).tasks["updates"]) == [58, 60, 60]
    (spent,) = (column for column in COLUMNS if column.name == "updates spent")
    assert spent.read(StoredRun(folder), None) == 58 + 60 + 60
    assert ">58<" in run_page(StoredRun(folder), Images()).decode()


def test_the_table_on_the_page(folder):
    page = run_page(StoredRun(folder), Images()).decode()
    for text in ("aesthetic 0.51", "aesthetic 0.52, compressibility 0.31", ">met<", ">not met<", ">18<"):
        assert text in page
