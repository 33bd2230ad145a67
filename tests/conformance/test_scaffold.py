"""Each file that `ril-bench new` writes passes `ril-bench check`, and has the right name."""

from __future__ import annotations

import pytest

from ril_bench.conformance.check import check
from ril_bench.conformance.method import check_method
from ril_bench.conformance.reward import check_reward
from ril_bench.conformance.scaffold import new
from ril_bench.conformance.tuner import check_tuner
from ril_bench.errors import UserError
from ril_bench.registry import load
from ril_bench.sequences.sequence_file import load_sequence


def test_a_new_method_passes_its_check(tmp_path, tiny_sequence):
    file = new("method", "my_method", tmp_path)
    assert [result.fault for result in check_method(str(file), tiny_sequence)] == [None] * 11
    cls = load("method", str(file))
    assert cls.__name__ == "MyMethod"
    assert cls.__doc__.startswith("What it does, in one line")
    assert "strength" in cls.Options.model_fields


def test_a_new_tuner_passes_its_check(tmp_path, tiny_sequence):
    file = new("tuner", "my_tuner", tmp_path)
    assert [result.fault for result in check_tuner(str(file), tiny_sequence)] == [None] * 9
    assert load("tuner", str(file)).__name__ == "MyTuner"


def test_a_new_reward_passes_its_check(tmp_path):
    file = new("reward", "my_reward", tmp_path)
    assert [result.fault for result in check_reward(str(file))] == [None] * 7
    assert load("reward", str(file)).name == "my_reward"


def test_a_new_sequence_passes_its_check(tmp_path):
    file = new("sequence", "my-sequence", tmp_path)
    assert load_sequence(str(file)).name == "my-sequence"
    assert check(str(file)).ok
    assert file.read_text().startswith("# What this sequence is for")


@pytest.mark.parametrize(
    ("kind", "name", "what"),
    [
        ("metod", "mine", "no template of a 'metod'"),
        ("method", "my-method", "'my-method' cannot name a method"),
        ("reward", "class", "'class' cannot name a reward"),
        ("tuner", "_mine", "'_mine' cannot name a tuner"),
        ("sequence", "../mine", "cannot name a sequence"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, kind, name, what):
    with pytest.raises(UserError, match=what):
        new(kind, name, tmp_path)


def test_a_file_is_never_replaced(tmp_path):
    file = new("reward", "mine", tmp_path)
    before = file.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        new("reward", "mine", tmp_path)
    assert file.read_bytes() == before
