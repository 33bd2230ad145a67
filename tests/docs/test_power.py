"""The number of seeds that a difference needs."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from tests.docs.pages import ROOT, script


@pytest.fixture(scope="module")
def power() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs" / "studies"))
    return script("studies/power.py")


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_seeds_of_a_paired_t_test_are_the_published_ones(power, effect, n):
    """The published ones are those of G*Power for a two-sided test at .05 with power .8."""
    assert power.needed(effect, 1.0) == n


def test_a_difference_without_noise_needs_two_seeds_and_no_difference_has_no_number(power):
    assert power.needed(1.0, 0.0) == 2
    assert power.needed(0.0, 1.0) is None


def test_the_share_of_subsets_that_show_a_difference(power):
    assert power.shown_by(np.array([1.0, 1.1, 0.9, 1.0, 1.05, 0.95]), 5) == 1.0
    assert power.shown_by(np.array([-1.0, 1.1, -0.9, 1.0, -1.05, 0.95]), 5) == 0.0


def test_a_tenth_of_the_budget_is_compared_over_the_same_seeds(power, monkeypatch):
    """By hand: a is above naive by 1 with the whole budget and below by 1 with a tenth, b above by 2 in both."""

    def rows(a, b, seeds):
        ends = {"naive": 0.0, "a": a, "b": b}
        return pd.DataFrame(
            {"method": name, "seed": seed, "LEARN": end, "FORGET": -end, "FINAL": end + seed}
            for name, end in ends.items()
            for seed in seeds
        )

    whole = pd.concat([rows(1.0, 2.0, range(5)), pd.DataFrame([{"method": "other", "seed": 0}])])
    monkeypatch.setattr(power, "_runs", lambda *place: whole)
    monkeypatch.setattr(power, "measured", lambda name: rows(-1.0, 2.0, range(3)))
    lines = power.tenth("leaderboard", "shapes-ril", "given").splitlines()
    assert [line.split(" | ")[-2:] for line in lines[2:]] == [
        ["+1.00 [1.00, 1.00]", "−1.00 [−1.00, −1.00] |"],
        ["+2.00 [2.00, 2.00]", "+2.00 [2.00, 2.00] |"],
        ["", "0.50 |"],
    ]
