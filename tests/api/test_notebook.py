"""A run in a notebook: tables in the best unit, images, the plot, and its text and HTML."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ril_bench
from ril_bench import Run, UserError
from ril_bench.api.notebook import HEADLINE
from tests.reporting.synthetic import REWARDS, write_run

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(write_run(tmp_path_factory.mktemp("runs") / "run", prompts=4, updates=3))


@pytest.fixture(scope="module")
def uncalibrated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(write_run(tmp_path_factory.mktemp("runs") / "run", prompts=4, updates=3, calibrated=False))


class Text(HTMLParser):
    """The words of a page, and the tags that are open at its end."""

    def __init__(self, html: str):
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_its_tables(complete):
    assert list(complete.matrix.columns[:3]) == REWARDS
    assert list(complete.matrix.index) == [0, 1, 2, 3]
    assert complete.matrix.index.name == complete.normalised.index.name == "step"
    assert list(complete.normalised.columns) == REWARDS
    assert complete.normalised.to_numpy() == pytest.approx(
        np.array(complete.metrics["continual"]["normalised"]["N"])
    )
    assert len(complete.log) == 9
    assert {"task", "update", "score"} <= set(complete.log)
    assert {"step", "reward", "prompt_id", "score"} <= set(complete.scores)


def test_its_main_metrics_are_in_the_best_unit(complete, uncalibrated):
    for run, unit in ((complete, "normalised"), (uncalibrated, "z")):
        assert (run.unit, run.summary.name) == (unit, unit)
        assert tuple(run.summary.index) == HEADLINE
        assert run.summary["FINAL"] == pytest.approx(run.metrics["continual"][unit]["FINAL"])
    assert "FORGET" in complete.headline
    assert "(floor " in complete.headline
    assert "no calibration" in uncalibrated.headline


def test_the_error_states_what_the_normalised_matrix_needs(uncalibrated, tmp_path):
    with pytest.raises(UserError, match="no calibration") as error:
        _ = uncalibrated.normalised
    assert "ril-bench calibrate shapes-ril" in str(error.value)
    running = Run(write_run(tmp_path / "run", prompts=4, updates=3, status="running", calibrated=False))
    with pytest.raises(UserError, match="this run is unfinished"):
        _ = running.normalised


def test_its_images_by_prompt(complete):
    images = complete.images(3)
    assert len(images) == 4
    assert all("background" in prompt for prompt in images)
    assert {image.size for row in images.values() for image in row} == {(64, 64)}
    with pytest.raises(UserError, match="step 7 has no images") as error:
        complete.images(7)
    assert "0, 1, 2, 3" in str(error.value)


@pytest.mark.parametrize("kind", ["complete", "uncalibrated"])
def test_its_plot_has_a_line_for_each_reward(request, kind):
    run = request.getfixturevalue(kind)
    axes = run.plot().axes[0]
    curves = {line.get_label(): line.get_ydata() for line in axes.lines}
    for name in REWARDS:
        expected = run.metrics["continual"][run.unit]["N"]
        assert curves[name] == pytest.approx(np.array(expected)[:, REWARDS.index(name)])


def test_a_run_without_a_common_unit_is_plotted_in_one_panel_a_reward(tmp_path):
    folder = write_run(tmp_path / "run", prompts=4, updates=3)
    (folder / "metrics.json").unlink()
    figure = Run(folder).plot()
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == REWARDS
    (folder / "matrix.csv").unlink()
    with pytest.raises(UserError, match="no step is complete"):
        Run(folder).plot()


def test_its_text_names_the_run_and_its_status(complete):
    for word in ("shapes-ril", "naive", "draft", "seed 0", "complete", "FINAL", str(complete.path)):
        assert word in repr(complete)


def test_its_html_shows_the_matrix_with_coloured_cells(complete, uncalibrated):
    for run in (complete, uncalibrated):
        html = run._repr_html_()
        page = Text(html)
        assert not page.open
        for word in (*REWARDS, "pretrained"):
            assert any(word in piece for piece in page.words)
        assert html.count("rgba(") >= 9
        assert html.count("outline:") == 3  # each reward at the step that trained it
    assert "0 is the pretrained model, 1 is" in complete._repr_html_()
    assert "standard deviations" in uncalibrated._repr_html_()


def test_names_from_a_file_are_text_in_its_html(tmp_path):
    html = Run(write_run(tmp_path / "run", prompts=4, updates=3, label="<b>x</b>"))._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


@pytest.mark.parametrize("info", [{}, {"status": "failed"}])
def test_an_unfinished_run_has_a_text_and_html(tmp_path, info):
    folder = tmp_path / "run"
    if info:
        write_run(folder, prompts=4, updates=3, **info)
        for name in ("metrics.json", "matrix.csv", "scores.parquet"):
            (folder / name).unlink()
    for shown in (repr(Run(folder)), Run(folder)._repr_html_()):
        assert info.get("status", "no run here yet") in shown


def test_one_folder_as_text_is_one_folder(complete, tmp_path):
    page = ril_bench.report(str(complete.path.parent), out=tmp_path / "site")
    assert page == tmp_path / "site" / "index.html"
    assert page.is_file()


def test_a_report_is_text_in_a_format(complete):
    text = ril_bench.report(complete, format="md", metrics=["FINAL"])
    assert "| FINAL |" in text
    with pytest.raises(UserError, match="not a format"):
        ril_bench.report(complete, format="xls")


def test_a_comparison_is_a_table(complete, tmp_path):
    other = write_run(tmp_path / "soup", method="soup", keep=0.8, prompts=4, updates=3)
    rows = ril_bench.compare(complete, other, metrics=["FORGET"])
    assert isinstance(rows, pd.DataFrame)
    assert len(rows) == 1
    assert not Path("index.html").exists()
