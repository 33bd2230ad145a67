"""The Tuner base class, and the options of every tuner that ships."""

import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.tuners.base import Log, Tuner


class Example(Tuner):
    class Options(Tuner.Options):
        strength: float = 2.0
        rounds: int = 1


def test_options_have_defaults_and_are_typed():
    assert Example().options.strength == 2.0
    assert Example(strength="1e-3").options.strength == 1e-3  # YAML reads 1e-3 as a string


def test_all_wrong_options_are_named_at_once():
    with pytest.raises(UserError) as error:
        Example(strenght=1, rounds="many")
    assert "strenght" in str(error.value)
    assert "rounds" in str(error.value)
    assert "strength" in error.value.hint


def test_logs_of_micro_batches_add_up():
    assert Log(1.0, 2.0, 3.0) + Log(0.5, 0.25, 0.125) == Log(1.5, 2.25, 3.125)


def test_a_tuner_has_no_parameters_or_state_of_its_own_by_default():
    assert (list(Tuner().parameters()), Tuner().state_dict()) == ([], {})


@pytest.mark.parametrize("name", registry.names("tuner"))
def test_every_option_has_a_description(name):
    options = registry.load("tuner", name).Options.model_fields
    assert [key for key, field in options.items() if not field.description] == []
