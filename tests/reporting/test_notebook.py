"""The matplotlib figures of a run in a notebook."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ril_bench.errors import UserError
from ril_bench.reporting.notebook import training_figure
from ril_bench.storage.read import read_run
from tests.reporting.synthetic import write_run


def test_the_training_figure_draws_the_log(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", prompts=2, pixels=16, updates=12))
    panels = training_figure(run).axes
    assert [axes.get_title() for axes in panels] == [
        "Task 1: aesthetic",
        "Task 2: compressibility",
        "Task 3: brightness",
    ]
    logged = [line["score"] for line in run.log if line["task"] == 2]
    raw, mean = panels[1].get_lines()
    assert list(raw.get_ydata()) == logged
    assert np.ptp(mean.get_ydata()) < np.ptp(logged)


def test_a_run_without_a_log_has_no_training_figure(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", prompts=2, pixels=16, updates=1)
    (run / "log.jsonl").unlink()
    with pytest.raises(UserError, match="no update is logged"):
        training_figure(read_run(run))
