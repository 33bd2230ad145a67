"""What forgetting depends on (docs/studies/drift.py), held against made-up runs with a known answer."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from tests.docs.pages import ROOT, script


@pytest.fixture(scope="module")
def drift() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs" / "studies"))
    return script("studies/drift.py")


def made_up(seeds: int = 6, methods: int = 12) -> pd.DataFrame:
    """Runs whose FORGET is LEARN + .3 exactly, except for the method m0, which forgets about 1 less."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for j in range(methods):
            learn, drift = rng.normal(), rng.normal()
            forget = learn + 0.3 - (1 + 0.01 * rng.normal()) * (j == 0)
            rows.append(
                {"seed": seed, "method": f"m{j}", "LEARN": learn, "log drift": drift, "FORGET": forget}
            )
    return pd.DataFrame(rows)


def cells(table: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in table.replace("−", "-").splitlines()[2:]]
    return {first: rest for first, *rest in lines}


def first_number(cell: str) -> float:
    return float(re.match(r"[-+]?[\d.]+", cell)[0])


def test_the_correlations_find_what_forget_was_made_from(drift, monkeypatch):
    runs = made_up()
    monkeypatch.setattr(drift, "_runs", lambda *_: runs[runs["method"] != "m0"])
    found = {name: first_number(row[0]) for name, row in cells(drift.correlations("", "", "")).items()}
    assert found["FORGET and LEARN"] == 1
    assert found["FORGET and LEARN, drift held equal"] == 1
    assert found["share of the variance of FORGET that LEARN explains"] == 1
    assert found["share of the variance of FORGET that both explain"] == 1
    assert abs(found["FORGET and drift"]) < 0.5


def test_what_is_left_of_a_method_is_what_its_learning_does_not_explain(drift, monkeypatch):
    monkeypatch.setattr(drift, "_runs", lambda *_: made_up())
    left = cells(drift.left("", "", ""))
    assert next(iter(left)) == "`m0`"  # the least is first
    at_equal_learn = {name: row[1] for name, row in left.items()}
    assert first_number(at_equal_learn["`m0`"]) == pytest.approx(-1, abs=0.02)
    assert at_equal_learn["`m0`"].endswith("*")
    for name, cell in at_equal_learn.items():
        if name != "`m0`":
            assert -0.2 < first_number(cell) < 0.6  # m0 bends the fit of the others
