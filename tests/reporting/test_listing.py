"""Listing: a line on each name, and everything about one, without torch."""

from __future__ import annotations

import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.reporting.listing import described, details


@pytest.mark.parametrize("kind", registry.KINDS)
def test_everything_has_a_line(kind):
    rows = dict(described(kind))
    assert list(rows) == registry.names(kind)
    assert all(rows.values())


@pytest.mark.parametrize("kind", ["method", "tuner"])
def test_the_options_read_off_the_source_are_the_classes(kind):
    for name in registry.names(kind):
        options = details(kind, name)["options"]
        fields = registry.load(kind, name).Options.model_fields
        assert list(options) == list(fields)
        for option, facts in options.items():
            assert facts["description"], (name, option)
            assert (facts["default"] == "required") == fields[option].is_required()


def test_needs_are_the_tuners():
    for name in registry.names("tuner"):
        assert details("tuner", name)["needs"] == sorted(registry.load("tuner", name).needs), name


def test_what_a_reward_states_is_its_classes():
    for name in registry.names("reward"):
        found, cls = details("reward", name), registry.load("reward", name)
        for fact in ("unit", "direction", "differentiable"):
            assert found[fact] == getattr(cls, fact), name
        assert found["worlds"]


def test_a_sequence_and_a_preset():
    assert details("sequence", "shapes-ril")["tasks"] == ["aesthetic", "preference", "compressibility"]
    assert details("sequence", "shapes-ril")["calibrated"]
    assert details("preset", "drtune")["settings"]["sampler.steps"] == 50


def test_a_name_that_nothing_has():
    with pytest.raises(UserError, match="no method is called 'ridd'"):
        details("method", "ridd")
