"""A grid of tiny runs, and the bytes of all its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ril_bench.studies.grid.axes import GridSpec, axes
from tests.tiny import results


def small(sequence: str, **given: Any) -> GridSpec:
    """A grid of 2 methods, 2 orders and 2 seeds."""
    chosen = {"methods": ["naive", "rid"], "orders": ["given", "reversed"], "seeds": [0, 1], **given}
    return axes(None, {"sequences": [sequence], **chosen})


def everything(out: Path) -> dict[str, bytes]:
    """The bytes of the results of every run below a folder."""
    folders = [file.parent for file in out.rglob("run.json")]
    return {
        f"{folder.relative_to(out)}/{name}": data
        for folder in folders
        for name, data in results(folder).items()
    }
