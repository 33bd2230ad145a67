"""Any change of a good entry is refused, or leaves every metric that is ranked as it was."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ril_bench.leaderboard.check import ALL, NOTHING_AGAIN, Checker, check
from ril_bench.reporting.columns import COLUMNS
from ril_bench.reporting.summary import runs_table
from ril_bench.storage.read import read_run
from tests.leaderboard.tampering import entry, rescore, seal

numbers = (
    st.sampled_from([0, -1, 1e-9, 7.0, 1e6, 1e15, 1e16, 1e308, 5e-324, 10**400, -(10**400)])
    | st.floats(allow_nan=False)
    | st.integers(-(2**64), 2**64)
)

pytestmark = pytest.mark.slow
values = numbers | st.none() | st.booleans() | st.text(max_size=12)
some = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
#: metrics that a verified entry can have a rank in
RANKED = [column.name for column in COLUMNS if column.origin in ("scores", "images")]


def accepted(folder: Path, checker: Checker = NOTHING_AGAIN) -> bool:
    """Whether the entry at a folder is valid; other seeds and the method are not asked."""
    return next(iter(check(folder, checker=checker))).valid


def ranked(folder: Path) -> dict[str, float]:
    (row,) = runs_table([read_run(folder)]).to_dict("records")
    return {name: row[name] for name in RANKED if math.isfinite(row[name])}


@pytest.fixture(scope="module")
def good(honest: Path) -> dict[str, float]:
    return ranked(entry(honest))


@pytest.fixture
def fresh(honest: Path, tmp_path: Path) -> Path:
    """A place for a leaderboard that each example writes again."""
    return tmp_path / "board"


def copied(honest: Path, fresh: Path) -> Path:
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(honest, fresh)
    return entry(fresh)


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    return [path] if items is None else [p for k, inner in items for p in leaves(inner, (*path, k))]


@some
@given(name=st.sampled_from(["run.json", "metrics.json"]), value=values, data=st.data())
def test_a_changed_value(
    honest: Path, fresh: Path, good: dict[str, float], name: str, value: object, data: st.DataObject
) -> None:
    folder = copied(honest, fresh)
    tree = json.loads((folder / name).read_text())
    *parents, last = data.draw(st.sampled_from(leaves(tree)))
    inner = tree
    for key in parents:
        inner = inner[key]
    inner[last] = value
    (folder / name).write_text(json.dumps(tree))
    seal(folder)
    if accepted(folder) and any(not near(found, good[key]) for key, found in ranked(folder).items()):
        # Only a metric of images can differ here, and it has no rank before all images are generated again.
        assert not accepted(folder, Checker(resample=ALL))


def near(found: float, good: float) -> bool:
    """Within what `check --resample all` accepts of a metric of images."""
    return math.isclose(found, good, rel_tol=0.06, abs_tol=1e-3)


@some
@given(data=st.data(), change=st.integers(1, 255))
def test_a_changed_byte(
    honest: Path, fresh: Path, good: dict[str, float], data: st.DataObject, change: int
) -> None:
    folder = copied(honest, fresh)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    file = folder / data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= change
    file.write_bytes(content)
    assert not accepted(folder)  # digests
    seal(folder)
    if accepted(folder) and any(not near(found, good[key]) for key, found in ranked(folder).items()):
        assert not accepted(folder, Checker(resample=ALL))


@some
@given(data=st.data(), name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))
@example(data=None, name="NAIVE")
def test_a_changed_name(honest: Path, fresh: Path, data: st.DataObject | None, name: str) -> None:
    folder = copied(honest, fresh)
    parts = [folder, *folder.parents[:5]]
    old = data.draw(st.sampled_from(parts)) if data else folder.parents[4]
    if "/" in name or "\0" in name or name in (".", "..", old.name):
        return
    try:
        old.rename(old.with_name(name))
    except OSError:
        return  # this file system has no such name
    assert not all(verdict.valid for verdict in check(fresh))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    row=st.integers(0, 10**6),
    shift=st.floats(0.2, 99).flatmap(lambda size: st.sampled_from([size, -size])),
)
def test_a_changed_score_that_moves_a_mean(honest: Path, fresh: Path, row: int, shift: float) -> None:
    """One image of 8 by 0.2 sigma moves the mean of a reward by 0.025 sigma."""
    folder = copied(honest, fresh)
    frame = pd.read_parquet(folder / "scores.parquet")
    trained = frame.index[frame["trained"]]
    place = trained[row % len(trained)]
    same = frame[(frame["step"] == 0) & (frame["reward"] == frame.loc[place, "reward"])]
    frame.loc[place, "score"] += shift * same.groupby("prompt_id")["score"].mean().std()
    frame.to_parquet(folder / "scores.parquet", index=False)
    rescore(folder)
    seal(folder)
    assert not accepted(folder, Checker(resample=ALL))
