"""Listing: a line on each name, and everything about one, without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.reporting.listing import described, details
from ril_bench.worlds.table import WORLDS


@pytest.mark.parametrize("kind", registry.KINDS)
def test_everything_has_a_line(kind):
    rows = dict(described(kind))
    assert list(rows) == registry.names(kind)
    assert all(rows.values())


@pytest.mark.parametrize("kind", ["method", "tuner"])
def test_the_options_read_off_the_source_are_the_classes(kind):
    for name in registry.names(kind):
        (entry,) = [entry for entry in details(name) if entry["kind"] == kind]
        fields = registry.load(kind, name).Options.model_fields
        assert [option["name"] for option in entry["options"]] == list(fields)
        for option in entry["options"]:
            assert option["meaning"], (name, option)
            assert (option["default"] == "required") == fields[option["name"]].is_required()


def test_needs_are_the_tuners():
    for name in registry.names("tuner"):
        (entry,) = [entry for entry in details(name) if entry["kind"] == "tuner"]
        assert entry["needs"] == sorted(registry.load("tuner", name).needs), name


@pytest.mark.parametrize("world", WORLDS.values(), ids=lambda world: world.name)
def test_what_a_reward_states_is_its_classes(world):
    for name in registry.names("reward", world):
        (entry,) = [
            e for e in details(name) if e["kind"] == "reward" and e["world"] in ("every world", world.name)
        ]
        cls = registry.load("reward", name, world)
        stated = entry["unit"], entry["direction"], entry["differentiable"]
        assert stated == (cls.unit, cls.direction, cls.differentiable), name


def test_a_sequence_and_a_preset():
    (sequence,) = details("shapes-ril")
    assert sequence["tasks"] == ["aesthetic", "preference", "compressibility"]
    assert sequence["calibration"].endswith("shapes-ril.calibration.json")
    (preset,) = [entry for entry in details("drtune") if entry["kind"] == "preset"]
    assert "sampler.steps=50" in preset["settings"]


def test_a_name_that_nothing_has():
    with pytest.raises(UserError, match="nothing is called 'ridd'") as caught:
        details("ridd")
    assert "'rid'" in caught.value.hint


def test_listing_needs_no_torch():
    code = (
        "import sys; from ril_bench.reporting.listing import described, details;"
        "described('reward'); details('aesthetic'); details('rid'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
