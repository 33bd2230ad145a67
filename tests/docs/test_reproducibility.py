"""The page of what was reproduced names every method and tuner, and only tests that exist."""

from __future__ import annotations

import ast
import sys

import pandas as pd
import pytest

from ril_bench import registry
from tests.docs.pages import ROOT, script


@pytest.fixture(scope="module")
def page():
    sys.path.insert(0, str(ROOT / "docs" / "studies"))
    return script("studies/reproducibility.py")


@pytest.mark.parametrize(("kind", "registered"), [("methods", "method"), ("tuners", "tuner")])
def test_every_one_that_ships_is_there(page, kind, registered):
    assert list(page.facts(kind)) == sorted(registry.names(registered))


@pytest.mark.parametrize("kind", ["methods", "tuners"])
def test_its_test_exists(page, kind):
    for own in page.facts(kind).values():
        file, _, name = own["test"].partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, own["test"]


def test_its_claim_exists(page):
    named = {own["study"] for own in page.facts("tuners").values() if "study" in own}
    assert named <= set(registry.names("claim"))


@pytest.mark.parametrize(
    ("difference", "p_holm", "words"),
    [
        (-0.2, 0.01, "forgets less: −0.20 [−0.30, −0.10]"),
        (0.2, 0.01, "forgets more: +0.20 [0.10, 0.30]"),
        (-0.2, 0.06, "FORGET not told apart: −0.20 [−0.30, −0.10]"),
        (-0.2, float("nan"), "FORGET not told apart: −0.20 [−0.30, −0.10]"),
    ],
)
def test_a_difference_counts_after_the_correction_alone(page, difference, p_holm, words):
    gap = {"difference": difference, "difference_low": difference - 0.1, "difference_high": difference + 0.1}
    rows = pd.DataFrame(
        [
            {"method": "mine", "figure": figure, "p_holm": p_holm} | gap
            for figure in ("FORGET", "FINAL", "LEARN")
        ]
    )
    assert page.verdict("mine", rows).startswith(f"{words}; ")
    assert page.verdict("other", rows) == "not measured yet"
