"""The site of 200 synthetic runs: in under 20 seconds, under 15 MB."""

from __future__ import annotations

from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

import ril_bench
from tests.reporting.synthetic import write_runs


def test_the_site_of_200_runs(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs")
    page = benchmark.pedantic(ril_bench.report, args=([runs], tmp_path / "site"), rounds=2, iterations=1)
    files = [file for file in page.parent.rglob("*") if file.is_file()]
    benchmark.extra_info.update(files=len(files), megabytes=sum(file.stat().st_size for file in files) / 1e6)
