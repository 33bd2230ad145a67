"""Published settings by name: each fits the sequences it is for, and says where its numbers come from."""

from __future__ import annotations

import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.reporting.listing import described
from ril_bench.running.plan import plan_run
from ril_bench.sequences.presets import settings_of
from ril_bench.sequences.sequence_file import load_sequence

REAL = ("sd15-ril", "sd15-long", "sdxl-ril")
IMAGES = {"tuner.images": "shapes/preference"}  # what SPIN wants besides, and no paper can say


@pytest.mark.parametrize("name", registry.names("preset"))
def test_every_preset_fits_a_sequence_and_builds_its_tuner(name):
    more = IMAGES if name == "spin" else {}
    plan = plan_run("sd15-ril", "naive", preset=name, settings=more)
    spec = plan.sequence.task(1)
    registry.load("tuner", spec.tuner.name)(**spec.tuner.options)
    assert plan.label.startswith(name)
    assert plan.sequence.model == load_sequence("sd15-ril").model


def test_every_preset_says_its_source():
    rows = described("preset")
    assert len(rows) == len(registry.names("preset")) > 8
    for _, summary in rows:
        assert "arXiv" in summary
        assert any(tag in summary for tag in ("[code]", "[secondary", "[memory]", "[abstract]"))


def test_what_a_preset_leaves_out_stays_the_sequences():
    plan = plan_run("sd15-ril", "naive", preset="drtune", settings={"budget.updates": 7})
    written = load_sequence("sd15-ril")
    assert plan.sequence.tuner.options == {"k": 5, "m": 20, "spread": "paper"}
    assert plan.sequence.optimizer == written.optimizer
    assert plan.sequence.budget.updates == 7
    assert plan.label == "drtune,budget.updates=7"


def test_a_preset_and_another_tuner_are_refused():
    with pytest.raises(UserError, match="the preset draft brings its own tuner"):
        plan_run("sd15-ril", "naive", preset="draft", tuner="refl")


def test_a_preset_that_is_none():
    with pytest.raises(UserError, match="no preset is called 'daft'") as caught:
        settings_of("daft")
    assert "draft" in caught.value.hint


@pytest.mark.parametrize("name", REAL)
def test_a_real_sequence_is_pinned_and_says_that_it_has_no_calibration(name):
    sequence = load_sequence(name)
    assert len(sequence.model.partition("@")[2]) == 40
    assert f"ril-bench calibrate {name}" in sequence._file.read_text()
    assert sequence.home.name == "real"
