"""Metrics that a machine lacks: the notes before a run equal those of the scoring."""

from __future__ import annotations

import sys

import pytest

from ril_bench.remote.published import used_by
from ril_bench.worlds import features, missing
from ril_bench.worlds.missing import missing_metrics
from ril_bench.worlds.table import REAL, SHAPES


def scoring_notes() -> list[str]:
    notes: list[str] = []
    features.load(REAL, notes)
    return notes


def test_the_embedded_world_lacks_nothing():
    assert missing_metrics(SHAPES) == []


def test_offline_the_notes_are_those_of_the_scoring():
    notes = missing_metrics(REAL)
    assert notes == scoring_notes()
    assert len(notes) == len(REAL.networks)
    for note, network in zip(notes, REAL.networks, strict=True):
        assert note.startswith(
            f"no {network.metrics}: {used_by(network.user)[0].name} is not on this machine"
        )
        assert "$RIL_BENCH_WEIGHTS" in note


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    notes = missing_metrics(REAL)
    assert notes == scoring_notes()
    assert "hint: pip install 'ril-bench[real]'" in notes[0]


@pytest.mark.parametrize("answers", [True, False])
def test_a_file_that_can_be_downloaded_is_not_missing(monkeypatch, answers):
    monkeypatch.setattr(missing, "downloads_are_off", lambda: False)
    monkeypatch.setattr(missing, "hub_answers", lambda: answers)
    notes = missing_metrics(REAL)
    assert [("the hub does not answer" in note) for note in notes] == ([] if answers else [True] * 3)
