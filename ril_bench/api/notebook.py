"""A run to look at in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ril_bench.storage.run_folder import RunFolder, read_json


class Run:
    """A run's folder, read on demand."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def info(self) -> dict[str, Any]:
        """run.json: spec, provenance, status, cost."""
        return RunFolder(self.path).read_run()

    @property
    def matrix(self) -> pd.DataFrame:
        """The reward matrix R: rows step 0..T, a column for each reward, then for each probe."""
        return pd.read_csv(self.path / "matrix.csv", index_col="step")

    @property
    def scores(self) -> pd.DataFrame:
        """One row a step, reward, prompt and sample."""
        return pd.read_parquet(self.path / "scores.parquet")

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json; null (None) where a figure is undefined."""
        return dict(read_json(self.path / "metrics.json"))

    @property
    def page(self) -> Path:
        """The run's own page."""
        return self.path / "report.html"
