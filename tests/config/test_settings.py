"""Settings: text on the command line, a mapping inside the package."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.config.settings import parse_settings, setting_text, split_settings
from ril_bench.errors import UserError


def test_texts_become_a_mapping_whose_values_are_yaml():
    texts = [
        "budget.updates=10",
        "optimizer.lr=1e-3",
        "tuner={name: refl}",
        "adapter.targets=[to_q]",
        "a.b=x=y",
    ]
    assert parse_settings(texts) == {
        "budget.updates": 10,
        "optimizer.lr": 1e-3,
        "tuner": {"name": "refl"},
        "adapter.targets": ["to_q"],
        "a.b": "x=y",
    }


def test_the_last_of_two_texts_counts_and_takes_its_own_position():
    assert list(parse_settings(["tuner.k=1", "tuner={name: draft}", "tuner.k=2"]).items()) == [
        ("tuner", {"name": "draft"}),
        ("tuner.k", 2),
    ]


def test_a_mapping_is_copied():
    given_settings = {"tuner": {"name": "draft"}}
    parsed = parse_settings(given_settings)
    parsed["tuner"]["k"] = 1
    assert given_settings == {"tuner": {"name": "draft"}}


@pytest.mark.parametrize("text", ["budget.updates", "=3", "method.=3", "budget..updates=3", ""])
def test_a_text_that_sets_nothing_is_refused_with_an_example(text):
    with pytest.raises(UserError, match="sets nothing") as caught:
        parse_settings([text])
    assert caught.value.where == "--set"
    assert caught.value.hint == "write it as key=value, for example budget.updates=10"


@pytest.mark.parametrize(("text", "what"), [("a=[", "not valid YAML"), ("a={b: 1, b: 2}", "given twice")])
def test_a_value_that_is_not_yaml_is_refused_with_its_key(text, what):
    with pytest.raises(UserError, match=what) as caught:
        parse_settings([text])
    assert "--set a" in str(caught.value)


def test_settings_of_a_method_and_of_a_sequence_are_separated():
    assert split_settings({"budget.updates": 7, "method.strength": 0.1}) == (
        {"strength": 0.1},
        {"budget.updates": 7},
    )


@given(
    st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.lists(st.integers())
)
def test_a_value_survives_its_text(value):
    assert parse_settings([setting_text("a", value)]) == {"a": value}
