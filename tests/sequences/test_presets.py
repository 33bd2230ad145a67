"""Presets: each preset fits a sequence, and states the source of its numbers."""

from __future__ import annotations

import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.reporting.listing import described
from ril_bench.running.plan import plan_run
from ril_bench.sequences.presets import settings_of
from ril_bench.sequences.sequence_file import load_sequence

REAL = ("sd15-ril", "sd15-long", "sdxl-ril", "sd35-ril")
IMAGES = {"tuner.images": "shapes/preference"}  # SPIN also needs images, which a preset cannot state


@pytest.mark.parametrize("name", registry.names("preset"))
def test_every_preset_fits_a_sequence_and_builds_its_tuner(name):
    settings = IMAGES if name == "spin" else {}
    plan = plan_run("sd15-ril", "naive", preset=name, settings=settings)
    spec = plan.sequence.task(1)
    registry.load("tuner", spec.tuner.name)(**spec.tuner.options)
    assert plan.label.startswith(name)
    assert plan.sequence.model == load_sequence("sd15-ril").model


def test_every_preset_states_its_source():
    rows = described("preset")
    assert len(rows) == len(registry.names("preset")) > 8
    for _, summary in rows:
        assert "arXiv" in summary
        assert any(tag in summary for tag in ("[code]", "[secondary", "[memory]", "[abstract]"))


def test_settings_that_a_preset_leaves_out_stay_as_in_the_sequence():
    plan = plan_run("sd15-ril", "naive", preset="drtune", settings={"budget.updates": 7})
    written = load_sequence("sd15-ril")
    assert plan.sequence.tuner.options == {"k": 5, "m": 20, "spread": "paper"}
    assert plan.sequence.optimizer == written.optimizer
    assert plan.sequence.budget.updates == 7
    assert plan.label == "drtune,budget.updates=7"


def test_a_preset_and_another_tuner_are_refused():
    with pytest.raises(UserError, match="the preset draft has its own tuner"):
        plan_run("sd15-ril", "naive", preset="draft", tuner="refl")


def test_an_unknown_preset_is_refused():
    with pytest.raises(UserError, match="no preset is called 'daft'") as caught:
        settings_of("daft")
    assert "draft" in caught.value.hint


@pytest.mark.parametrize("name", REAL)
def test_a_real_sequence_is_pinned_and_states_how_to_calibrate_it(name):
    sequence = load_sequence(name)
    assert len(sequence.model.partition("@")[2]) == 40
    assert f"ril-bench calibrate {name}" in sequence._file.read_text()
    assert sequence.home.name == "real"
