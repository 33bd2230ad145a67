"""The verb score does not touch a run that is at work."""

from __future__ import annotations

from pathlib import Path

import pytest

import ril_bench
from ril_bench.errors import UserError
from ril_bench.storage.locks import locked
from tests.reporting.synthetic import write_run


def test_metrics_of_a_run_at_work_are_not_replaced(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", prompts=2, pixels=16, updates=1)
    before = (run / "metrics.json").read_bytes()
    with locked(run), pytest.raises(UserError, match="another run is at work here"):
        ril_bench.score(run)
    assert (run / "metrics.json").read_bytes() == before
