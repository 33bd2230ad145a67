"""The output while a run works."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ril_bench.running import progress
from ril_bench.running.progress import BLOCKS, CURVE, Reporter, duration, progress_note, sparkline

LINES = [{"reward": "symmetry", "score": float(k), "penalty": 0.25, "loss": -float(k)} for k in range(8)]


def screen(**options) -> Console:
    return Console(file=io.StringIO(), width=120, **options)


def test_a_terminal_shows_task_update_curve_penalty_speed_and_time_left():
    console = screen(force_terminal=True)
    with Reporter(console) as reporter:
        reporter.stage("task 2: preference", 30)
        for k in range(8):
            reporter.advance(note=progress_note(LINES[: k + 1]))
        reporter._live.refresh()
        shown = console.file.getvalue()
    for part in ("task 2: preference", "8/30", "reward ▁▂▃▄▅▆▇█ 7", "penalty 0.25", "/s", "0:00:"):
        assert part in shown


def test_without_a_terminal_a_line_is_printed_every_15_seconds(monkeypatch):
    console = screen()
    now = iter(range(0, 1000, 6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    reporter = Reporter(console)
    reporter.stage("task 1: symmetry", 8)
    for k in range(8):
        reporter.advance(note=progress_note(LINES[: k + 1]))
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("task 1: symmetry: 3/8  reward ▁▅█ 2")
    assert len(lines) == 2  # the clock is read twice where a line is printed


def test_a_line_that_is_printed_stays_above_the_bar():
    console = screen(force_terminal=True)
    with Reporter(console) as reporter:
        reporter.stage("grid", 2)
        reporter.say("failed (numerical): [bold]x[/bold]")
        assert reporter._live is not None
    assert "failed (numerical): [bold]x[/bold]" in console.file.getvalue()


def test_a_method_without_a_penalty_shows_none():
    assert "penalty" not in progress_note([LINES[0] | {"penalty": 0.0}])


def test_quiet_prints_nothing():
    reporter = Reporter(Console(file=(file := io.StringIO()), force_terminal=True, quiet=True))
    reporter.stage("task", 1)
    reporter.advance()
    reporter.say("done")
    reporter.close()
    assert file.getvalue() == ""


@given(st.lists(st.floats(-1e6, 1e6), max_size=300))
def test_a_curve_has_one_character_for_each_value_or_for_the_mean_of_its_neighbours(values):
    curve = sparkline(values)
    assert len(curve) == min(len(values), CURVE)
    assert set(curve) <= set(BLOCKS)


@given(st.floats(-100, 100), st.integers(2, 40))
def test_a_curve_that_rises_ends_at_the_top_and_a_flat_one_stays_low(low, n):
    assert sparkline([low + k for k in range(n)])[:: n - 1] == BLOCKS[0] + BLOCKS[-1]
    assert sparkline([low] * n) == BLOCKS[0] * n


def test_a_long_curve_shows_means():
    assert sparkline([0.0, 2.0, 3.0, 5.0], width=2) == BLOCKS[0] + BLOCKS[-1]


@pytest.mark.parametrize(("pace", "text"), [(None, ""), (2.5, "2.5/s"), (0.25, "4.0 s each")])
def test_speed_as_text(pace, text):
    assert progress._per_second(pace) == text


def test_durations_as_text():
    assert [duration(seconds) for seconds in (5, 119, 300, 7100, 9000, 1e6)] == [
        "5 s",
        "119 s",
        "5 min",
        "118 min",
        "2.5 h",
        "11.6 days",
    ]
