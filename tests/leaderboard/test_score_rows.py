"""The rows between updates of an entry: those that a run of its sequence writes, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from ril_bench.leaderboard import score_rows
from ril_bench.storage.read import read_run
from tests.tiny import runner

EVERY = 2


def entry_of(run: Path, rows: pd.DataFrame | None) -> SimpleNamespace:
    """What the check reads of an entry."""
    info = read_run(run).info
    evaluation = SimpleNamespace(**{"every": None} | info["sequence"]["evaluation"])
    sequence = SimpleNamespace(evaluation=evaluation, rewards=["brightness", "symmetry"], name="tiny")
    return SimpleNamespace(sequence=sequence, within=rows, raw=info, folder=run, file=lambda name: run / name)


@pytest.fixture(scope="module")
def watched(tiny_sequence: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = ["budget.updates=5", f"evaluation.every={EVERY}"]
    return runner(tiny_sequence, tmp_path_factory.mktemp("watched"), settings=settings).execute()


@pytest.fixture(scope="module")
def consolidated(tiny_sequence: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training of a task ends at an update that is a multiple of EVERY, and a consolidation follows."""
    settings = ["budget.updates=4", f"evaluation.every={EVERY}", "sampler.eta=1.0"]
    return runner(tiny_sequence, tmp_path_factory.mktemp("opd"), "opd", settings=settings).execute()


@pytest.mark.parametrize("kind", ["watched", "consolidated"])
def test_what_a_run_writes_stands(kind: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(kind)
    rows = pd.read_parquet(run / "anytime.parquet")
    assert list(score_rows.between_updates(entry_of(run, rows))) == []


def without(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the evaluation at which a reward was lowest, as a forger of MINPERF would have it."""
    return rows[(rows["step"] != 2) | (rows["update"] != EVERY)]


def later(rows: pd.DataFrame) -> pd.DataFrame:
    """One more evaluation, after the end of the training."""
    return pd.concat([rows, rows[(rows["step"] == 1) & (rows["update"] == EVERY)].assign(update=10**9)])


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "an evaluation left out": without,
    "an evaluation more": later,
    "a row left out": lambda rows: rows.iloc[1:],
    "a row twice": lambda rows: pd.concat([rows, rows.iloc[:1]]),
    "a row in the place of another": lambda rows: pd.concat([rows.iloc[1:], rows.iloc[1:2]]),
    "another update": lambda rows: rows.assign(update=rows["update"] + 1),
    "another step": lambda rows: rows.assign(step=rows["step"] + 1),
    "another prompt": lambda rows: rows.assign(prompt_id="999"),
    "another reward": lambda rows: rows.assign(reward="vividness"),
    "another sample": lambda rows: rows.assign(sample=rows["sample"] + 5),
    "no rows": lambda rows: rows.iloc[:0],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_rows_are_refused(watched: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    rows = change(pd.read_parquet(watched / "anytime.parquet"))
    (fault,) = score_rows.between_updates(entry_of(watched, rows))
    assert f"every {EVERY} updates" in fault.what


def test_the_file_is_there_where_the_sequence_asks_for_it(watched: Path) -> None:
    (fault,) = score_rows.between_updates(entry_of(watched, None))
    assert "is missing" in fault.what


def test_any_number_of_updates_is_held_against_the_rows_that_are_there(watched: Path) -> None:
    """A count of updates that no file could hold costs neither memory nor time."""
    rows = pd.read_parquet(watched / "anytime.parquet")
    entry = entry_of(watched, rows)
    entry.raw = {"steps": [step | {"updates": 10**15} for step in entry.raw["steps"]]}
    assert len(list(score_rows.between_updates(entry))) == 1
