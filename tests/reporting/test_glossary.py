"""The table of metrics agrees with the tables that are printed and with the files that runs write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ril_bench.reporting.columns import COLUMNS
from ril_bench.reporting.glossary import METRICS, Metric, glossary
from tests.reporting.synthetic import write_run


def test_every_column_of_the_table_is_explained() -> None:
    assert {column.name for column in COLUMNS} <= {metric.name for metric in METRICS}
    for metric in glossary():
        assert all(metric[key] for key in ("formula", "range", "meaning", "distrust"))
        assert metric["direction"] == ("higher is better" if metric["better"] > 0 else "lower is better")
        assert metric["meaning"].endswith(".")
        assert metric["distrust"].endswith(".")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_key_of_a_metric_is_in_the_files_of_a_run(metric: Metric, files: dict[str, Any]) -> None:
    file, _, path = metric.key.rpartition(": ")
    for name in path.split(", "):
        found = files[file or "metrics.json"]
        for key in name.replace("[]", ".-1").split("."):
            found = found[int(key)] if key == "-1" else found[key]
        assert found is not None


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run: Path = write_run(tmp_path_factory.mktemp("run") / "naive", prompts=3, pixels=16, updates=1)
    return {name: json.loads((run / name).read_text()) for name in ("metrics.json", "run.json")}
