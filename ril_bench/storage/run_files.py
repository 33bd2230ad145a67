"""Reads the files of a run's folder, one each: plain values and tables.

Imports pandas only for tables, and never torch: the page of a run needs neither. Every function raises UserError for a
damaged file.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow import parquet
from pyarrow.compute import VarianceOptions

from ril_bench.errors import UserError
from ril_bench.storage import names
from ril_bench.storage.integrity import FILES
from ril_bench.storage.seals import unchecked_line, unsealed

if TYPE_CHECKING:
    import pandas as pd


def read_log(folder: Path, *, checked: bool = False) -> list[dict[str, Any]]:
    """The lines of log.jsonl, in order; empty if there is no log.

    Skips text after the last newline: a killed run did not finish that line, and its resume writes it again.

    Args:
        checked: whether each line must have a checksum, as the lines of runs with digests do.

    Raises UserError for another line that is not JSON, or is damaged.
    """
    path = folder / names.LOG
    try:
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        found = [unchecked_line(line) for line in lines[:-1] if line]
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error
    if checked and not all(has_check for _, has_check in found):
        raise _unreadable(path, "a line has lost its checksum")
    return [value for value, _ in found]


def number(value: Any) -> float | None:
    """A finite number as a float; None for a bool, a text, NaN or infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def read_sealed(path: Path, *, required: bool | None = None) -> dict[str, Any]:
    """The object in a JSON file, without its seal.

    Args:
        required: whether the file must have a seal; None for run.json, which states it.
    """
    try:
        value, sealed = unsealed(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if not sealed and (FILES in value if required is None else required):
        raise _unreadable(path, "it has lost its digest")
    return value


def read_json(path: Path, kind: type) -> Any:
    if not path.is_file():
        return kind()
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(value, kind):
        raise _unreadable(path, f"expected a JSON {kind.__name__}")
    return value


def read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # Arrow's errors are subclasses of these
        raise _unreadable(path, error) from error


def read_matrix(path: Path) -> tuple[list[str], list[int], list[list[float | None]]]:
    # Uses csv, not pandas: a sequence may train a reward twice, and pandas would rename the second column.
    if not path.is_file():
        return [], [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        steps = [int(row[0]) for row in rows]
        matrix = [[number(float(cell)) if cell else None for cell in row[1:]] for row in rows]
    except ValueError as error:
        raise _unreadable(path, error) from error
    if any(len(row) != len(header) - 1 for row in matrix):
        raise _unreadable(path, "rows of different lengths")
    return header[1:], steps, matrix


def read_standard_errors(path: Path) -> dict[tuple[int, str], float]:
    if not path.is_file():
        return {}
    # Uses Arrow, not pandas: with pandas this group-by would take half of the time of a page.
    try:
        scores = parquet.read_table(path, columns=["step", "reward", "prompt_id", "score"])
        prompts = scores.group_by(["step", "reward", "prompt_id"]).aggregate([("score", "mean")])
        spread = prompts.group_by(["step", "reward"]).aggregate(
            [("score_mean", "stddev", VarianceOptions(ddof=1)), ("score_mean", "count")]
        )
    except (OSError, ValueError, KeyError) as error:  # Arrow's own errors are ValueErrors and KeyErrors
        raise _unreadable(path, error) from error
    columns = ("step", "reward", "score_mean_stddev", "score_mean_count")
    rows = zip(*(spread.column(name).to_pylist() for name in columns), strict=True)
    return {
        (int(step), str(reward)): deviation / math.sqrt(n)
        for step, reward, deviation, n in rows
        if number(deviation) is not None
    }


def _unreadable(path: Path, why: object) -> UserError:
    hints = {
        names.METRICS: f"ril-bench score {path.parent}",
        names.RUN: "restore this file, or delete the folder and run it again",
    }
    return UserError(
        f"{path.name} cannot be read: {why}",
        where=str(path),
        hint=hints.get(path.name, "delete the folder, or compute this again: ril-bench run ... --repair"),
    )
