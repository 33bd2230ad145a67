"""A run to look at in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ril_bench.storage import names
from ril_bench.storage.read import StoredRun


class Run:
    """A run's folder, read on demand."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def _stored(self) -> StoredRun:
        return StoredRun(self.path)  # read again each time: a run in progress changes its files

    @property
    def info(self) -> dict[str, Any]:
        """run.json: spec, provenance, status, cost."""
        return self._stored.info

    @property
    def matrix(self) -> pd.DataFrame:
        """The reward matrix R: rows step 0..T, a column for each reward, then for each probe."""
        return self._stored.reward_matrix

    @property
    def scores(self) -> pd.DataFrame:
        """One row a step, reward, prompt and sample."""
        return self._stored.scores

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json; null (None) where a figure is undefined."""
        return self._stored.metrics

    @property
    def page(self) -> Path:
        """The run's own page."""
        return self.path / names.PAGE
