"""What the first page claims, from tables made by hand."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from ril_bench.reporting import index
from ril_bench.reporting.answers import answers


def table(*methods: dict[str, Any], seeds: int = 5) -> pd.DataFrame:
    """FORGET of each method: its mean, and the difference to naive with its interval."""
    rows = []
    for method in methods:
        difference, low, high = method.get("difference", (math.nan,) * 3)
        common = {
            "sequence": "s",
            "order": "given",
            "tuner": "t",
            "method": method["name"],
            "oracle": method.get("oracle", False),
        }
        common |= {"seeds": seeds, "low": 0.1, "high": 0.9, "floor": math.nan, "biased": False, "points": ()}
        rows.append(
            common
            | {"figure": "FORGET", "mean": method["mean"], "p_holm": method.get("p_holm", math.nan)}
            | {"difference": difference, "difference_low": low, "difference_high": high}
        )
        if "cost" in method:
            rows.append(common | {"figure": "denoiser evaluations", "mean": method["cost"], "p_holm": math.nan}
                        | dict.fromkeys(("difference", "difference_low", "difference_high"), math.nan))  # fmt: skip
    return pd.DataFrame(rows)


def answer(*methods: dict[str, Any]) -> str:
    (found,) = answers(table(*methods))
    return str(found.words.striptags())


NAIVE = {"name": "naive", "mean": 0.5, "cost": 100.0}
BETTER = {"name": "rid", "mean": 0.2, "cost": 150.0, "difference": (-0.3, -0.4, -0.2), "p_holm": 0.01}


def test_a_method_that_forgets_less_is_named_with_its_price() -> None:
    words = "rid has the lowest FORGET, 0.200 [0.100, 0.900], and forgets less than naive: "
    assert (
        answer(NAIVE, BETTER) == words + "−0.300 [−0.400, −0.200] paired, at 1.50× the denoiser evaluations."
    )


@pytest.mark.parametrize("change", [{"difference": (-0.3, -0.7, 0.1)}, {"p_holm": 0.2}, {"p_holm": math.nan}])
def test_a_difference_that_noise_explains_is_not_claimed(change: dict[str, Any]) -> None:
    words = answer(NAIVE, BETTER | change)
    assert "but is not distinguishable from naive" in words
    assert "forgets less" not in words


def test_nothing_beats_naive() -> None:
    worse = {"name": "far", "mean": 0.9, "difference": (0.4, 0.3, 0.5)}
    near = {"name": "near", "mean": 0.6, "difference": (0.1, -0.1, 0.3)}
    words = answer(NAIVE, worse, near)
    assert words.startswith("naive has the lowest FORGET")
    assert "nearest is near: +0.100 [−0.100, 0.300] paired" in words


def test_an_oracle_is_no_answer() -> None:
    assert answer(NAIVE, BETTER, {"name": "joint", "mean": 0.0, "oracle": True}).startswith("rid has")


def test_without_anything_to_compare() -> None:
    assert answer(BETTER) == "rid is the only method: FORGET 0.200 [0.100, 0.900]."
    assert "no naive runs" in answer(BETTER, {"name": "ewc", "mean": 0.3})
    assert answer(BETTER | {"mean": math.nan}).startswith("FORGET is not defined")


def test_kid_leads_only_where_fid_is_biased() -> None:
    names = ["SSIM to step 0", "KID", "FID"]
    made = pd.DataFrame({"figure": ["FID", "KID"], "biased": [True, False]})
    assert index.columns(made, names) == ["KID", "FID"]
    assert index.columns(made.assign(biased=False), names) == ["FID"]


def test_colours_do_not_depend_on_the_order_of_runs() -> None:
    made = table({"name": "b", "mean": 1.0}, {"name": "naive", "mean": 1.0}, {"name": "a", "mean": 1.0})
    assert index.series_of(made) == index.series_of(made.iloc[::-1]) == {"naive": 0, "a": 1, "b": 2}
