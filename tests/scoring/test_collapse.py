"""Collapsed steps, from matrices and diversities written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.reporting.collapse import collapsed_steps, reasons, step_label
from ril_bench.scoring.collapse import LEAST_SHARE, collapsed, shares
from ril_bench.storage.read import StoredRun


def run(folder: Path, columns: dict[str, list[float]], pairwise: list[float | None] = ()) -> StoredRun:  # type: ignore[assignment]
    steps = len(next(iter(columns.values())))
    lines = [",".join(["step", *columns])]
    lines += [",".join(map(str, [i, *(values[i] for values in columns.values())])) for i in range(steps)]
    (folder / "matrix.csv").write_text("\n".join(lines) + "\n")
    rows: list[dict[str, Any]] = [
        {"step": i, "pairwise": value, "vendi": 1.0} for i, value in enumerate(pairwise)
    ]
    (folder / "metrics.json").write_text(json.dumps({"rewards": ["a", "b"], "diversity": {"steps": rows}}))
    (folder / "run.json").write_text('{"schema_version": 1}')
    return StoredRun(folder)


def test_each_measure_alone_marks_a_step(tmp_path):
    found = run(
        tmp_path,
        {"a": [1.0, 0.1, 0.1], "attributes": [0.9, 0.8, 0.7], "clip_score": [50, 39, 50]},
        [20.0, 21.0, 10.0],
    )
    assert collapsed(found) == {
        1: {"clip_score": pytest.approx(0.78)},
        2: {"attributes": pytest.approx(7 / 9), "diversity": pytest.approx(0.5)},
    }
    assert collapsed_steps(found) == "collapsed: steps 1 and 2"
    assert step_label(found, 2) == "after b, collapsed"
    assert step_label(found, 0) == "pretrained"
    assert reasons(found) == [
        "Step 1 is collapsed: clip_score 0.78 of step 0's.",
        "Step 2 is collapsed: attributes 0.78, diversity 0.50 of step 0's.",
    ]


def test_another_reward_may_fall(tmp_path):
    found = run(tmp_path, {"a": [1.0, 0.0], "clip_score": [50, 49]})
    assert shares(found) == {0: {"clip_score": 1.0}, 1: {"clip_score": pytest.approx(0.98)}}
    assert collapsed(found) == {}
    assert collapsed_steps(found) == ""


@pytest.mark.parametrize("before", [0.0, -2.0, float("nan")])
def test_a_value_that_is_not_positive_at_step_0_has_no_share(tmp_path, before):
    assert shares(run(tmp_path, {"clip_score": [before, -50.0]})) == {}


def test_a_run_without_files_has_no_collapsed_step(tmp_path):
    (tmp_path / "run.json").write_text('{"schema_version": 1}')
    assert collapsed(StoredRun(tmp_path)) == {}
    found = run(tmp_path, {"a": [1.0, 0.0]}, [None, 3.0])  # the diversity of step 0 is missing
    assert shares(found) == {}


values = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5)


@given(values, values)
def test_exactly_the_steps_below_the_share_are_collapsed(tmp_path_factory, attributes, pairwise):
    found = run(tmp_path_factory.mktemp("run"), {"attributes": attributes}, pairwise)
    low = {i for own in (attributes, pairwise) for i, value in enumerate(own) if value / own[0] < LEAST_SHARE}
    assert set(collapsed(found)) == low
    assert 0 not in collapsed(found)
