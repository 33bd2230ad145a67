from __future__ import annotations

import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.methods import HOOKS, Method, Plan


def test_the_hooks_are_those_of_the_documentation():
    assert {
        *("bind", "plan", "start_task", "prediction_loss", "weight_loss", "adjust_gradients"),
        *("after_update", "end_task", "state_dict", "load_state_dict"),
    } == HOOKS


def test_every_hook_is_optional():
    class Nothing(Method):
        pass

    method = Nothing()
    assert method.plan(["a", "b"], 2) == Plan(weights={2: 1.0}, updates=1.0, start="current")
    assert method.prediction_loss(None) is None
    assert method.weight_loss() is None
    assert method.state_dict() == {}
    for hook in ("bind", "adjust_gradients", "after_update"):
        assert getattr(method, hook)(*[None] * (hook == "bind")) is None
    assert not method.oracle


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("start_tasks", "start_task"), ("after_updates", "after_update"), ("predictionloss", "prediction_loss")],
)
def test_a_public_method_that_is_no_hook_is_an_error(typo, meant):
    with pytest.raises(UserError, match=f"{typo} is not a hook") as caught:
        type("Mine", (Method,), {typo: lambda self: None})
    assert repr(meant) in caught.value.hint


def test_helpers_begin_with_an_underscore():
    type("Mine", (Method,), {"_helper": lambda self: None, "Options": Method.Options, "oracle": True})
    for helper in (lambda self: None, staticmethod(lambda: None)):
        with pytest.raises(UserError, match="helper is not a hook"):
            type("Mine", (Method,), {"helper": helper})


def test_a_typo_in_a_file_is_told_with_its_place(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from ril_bench import Method\n\n\nclass Mine(Method):\n    def afterupdate(self):\n        pass\n"
    )
    with pytest.raises(UserError, match="afterupdate is not a hook") as caught:
        registry.load("method", str(file))
    assert "'after_update'" in str(caught.value)
    assert str(file) in caught.value.where


class Tuned(Method):
    class Options(Method.Options):
        strength: float = 1.0
        rounds: int = 3


def test_options_have_defaults_and_do_not_change():
    method = Tuned(strength="1e-3")
    assert (method.options.strength, method.options.rounds) == (1e-3, 3)
    with pytest.raises(ValueError, match="frozen"):
        method.options.strength = 2.0


def test_all_wrong_options_are_told_at_once():
    with pytest.raises(UserError) as caught:
        Tuned(strenght=1.0, rounds="many")
    told = str(caught.value)
    assert "'strenght'; did you mean 'strength'?" in told
    assert "rounds: " in told
    assert "its options are strength, rounds" in told


def test_a_method_without_options_takes_none():
    naive = registry.load("method", "naive")
    with pytest.raises(UserError, match="unknown option 'strength'") as caught:
        naive(strength=1.0)
    assert "its options are none" in str(caught.value)


@pytest.mark.parametrize("name", registry.names("method"))
def test_what_ships_fits_a_screen_or_two_and_says_what_it_is(name):
    place = registry.locate("method", name)
    assert len(place.read_text().splitlines()) <= 95
    method = registry.load("method", name)
    assert issubclass(method, Method)
    assert method.__doc__
    assert method().state_dict.__func__  # built from its defaults alone
