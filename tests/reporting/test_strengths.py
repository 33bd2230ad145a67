"""Curves of one method at several values of an option, and FORGET at naive's LEARN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ril_bench.metrics.statistics import mean_interval
from ril_bench.reporting import summary
from ril_bench.reporting.site import write_site
from ril_bench.reporting.strengths import at_equal_learning, strengths
from tests.reporting.html import edit, read
from tests.reporting.synthetic import write_run

pytestmark = pytest.mark.usefixtures("without_figures")

SMALL = {"prompts": 2, "pixels": 16, "updates": 1}
#: the method's LEARN and FORGET at each label; naive learns 0.8 and forgets 0.7
CURVE = {None: (1.0, 0.9), "strength=1": (0.7, 0.3), "strength=10": (0.2, 0.1)}


def write(out: Path, name: str, label: str | None, values: tuple[float, float], seeds: int = 5) -> None:
    for seed in range(seeds):
        folder = write_run(
            out / f"{name}-{label}" / f"seed-{seed}",
            method=name,
            label=label,
            seed=seed,
            **SMALL,  # type: ignore[arg-type]
        )
        metrics = summary.load([folder])[0].metrics
        own = 0.01 * seed  # every seed is off by the same amount in LEARN and FORGET
        continual = metrics["continual"]
        continual["normalised"] |= {"LEARN": values[0] + own, "FORGET": values[1] + own}
        edit(folder / "metrics.json", continual=continual)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    write(out, "naive", None, (0.8, 0.7))
    write(out, "ewc", None, (0.5, 0.2))
    for label, values in CURVE.items():
        write(out, "rid", label, values)
        write(out, "lwf", label, (values[0] - 0.5, values[1]))
    return out


def test_a_method_at_three_values_is_a_curve_and_the_default_is_its_tuned_value(runs: Path) -> None:
    found = {one.method: one for one in strengths(summary.load([runs]))}
    assert set(found) == {"rid", "lwf"}
    curve = found["rid"]
    assert list(curve.members.items()) == [("rid", 0.001), ("rid@strength=1", 1.0), ("rid@strength=10", 10.0)]
    assert (curve.option, curve.tuned) == ("strength", "rid")


def test_two_values_are_no_curve(runs: Path) -> None:
    some = [run for run in summary.load([runs]) if run.name != "rid@strength=10"]
    assert {one.method for one in strengths(some)} == {"lwf"}


def test_another_option_is_another_curve(runs: Path) -> None:
    loaded = summary.load([runs])
    for run in loaded:
        if run.name == "rid@strength=10":
            run.info["method"]["resolved"]["space"] = "noise"
    assert {one.method for one in strengths(loaded)} == {"lwf"}


def test_forget_where_the_curve_reaches_the_learn_of_naive(runs: Path) -> None:
    loaded = summary.load([runs])
    found = {
        one.strengths.method: one for one in at_equal_learning(summary.runs_table(loaded), strengths(loaded))
    }
    rid = found["rid"].forget
    assert rid is not None
    # LEARN 0.8 is a third of the way from 0.7 to 1.0, FORGET 0.3 + (0.9 - 0.3) / 3 = 0.5. All seeds are off by the
    # same amount in naive's LEARN and in the curve's, so only the offset of FORGET is left.
    expected = mean_interval([0.5 + 0.01 * seed for seed in range(5)])
    assert (rid["mean"], rid["low"], rid["high"]) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert rid["difference"] == pytest.approx(0.5 - 0.7)
    assert rid["difference_high"] - rid["difference_low"] == pytest.approx(0, abs=1e-9)
    assert rid["improvement"] == 1.0
    assert found["lwf"].forget is None
    assert found["lwf"].reason == "its LEARN is −0.280 to 0.520, that of naive 0.820"


def test_without_naive_there_is_nothing_to_compare_with(runs: Path) -> None:
    loaded = [run for run in summary.load([runs]) if run.name != "naive"]
    (rid, _) = at_equal_learning(summary.runs_table(loaded), strengths(loaded))
    assert (rid.forget, rid.reason) == (None, "naive did not run")


def test_a_metric_that_is_not_defined_gives_a_reason(runs: Path) -> None:
    loaded = summary.load([runs])
    frame = summary.runs_table(loaded)
    frame.loc[frame["method"] == "rid@strength=1", "FORGET"] = np.nan
    found = [one.reason for one in at_equal_learning(frame, strengths(loaded))]
    assert found[0] == "LEARN or FORGET is not defined"


def test_the_site_has_the_curves_and_the_table(runs: Path, tmp_path: Path) -> None:
    first = [run for run in summary.load([runs]) if run.seed == 0]
    page = read(write_site(first, tmp_path / "site"))
    html = (tmp_path / "site" / "index.html").read_text()
    assert html.count('class="trace"') == 2 * html.count("<figure data-sequence")
    words = " ".join(page.text.split())
    assert "At equal learning" in words
    assert "strength 0.001, 1, 10" in words
    assert "its LEARN is −0.300 to 0.500, that of naive 0.800" in words


def test_a_site_without_curves_has_no_such_table(runs: Path, tmp_path: Path) -> None:
    plain = [run for run in summary.load([runs]) if "@" not in run.name and run.seed == 0]
    assert "At equal learning" not in read(write_site(plain, tmp_path / "site")).text
