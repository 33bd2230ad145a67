"""The bare cost of a kind of call is measured once on a machine, and in the same way for every method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from ril_bench.machine.compute import Compute
from ril_bench.rewards.jpeg import JpegKb
from ril_bench.rewards.pixels import Brightness
from ril_bench.running.bare_cost import Call, bare_seconds, known_seconds, unit_seconds
from ril_bench.running.inputs import cost_key, inputs_of
from ril_bench.sequences.sequence_file import load_sequence
from tests.tiny import PROMPTS

kinds = st.sampled_from(["denoiser", "decode", "reward:symmetry"])
runs = st.lists(
    st.sets(st.tuples(kinds, st.booleans(), st.integers(1, 3)), min_size=1), min_size=1, max_size=4
)


def seconds(call: Call) -> float:
    return len(call[0]) + 10 * call[1] + 0.1 * call[2]


@given(runs)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_each_kind_of_call_is_measured_once(tmp_path_factory, monkeypatch, sequence_of_runs):
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    measured: list[Call] = []

    def measure(calls: list[Call]) -> dict[Call, float]:
        measured.extend(calls)
        return {call: seconds(call) for call in calls}

    for calls in sequence_of_runs:
        before = set(measured)
        found, cached = known_seconds(sorted(calls), {"cpu": "a"}, measure)
        assert found == {call: seconds(call) for call in calls}
        assert cached == bool(before & calls)
    assert sorted(measured) == sorted(set().union(*sequence_of_runs))


def test_another_machine_measures_again(tmp_path, monkeypatch):
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path))
    call: Call = ("denoiser", True, 8)
    for cpu, value in (("a", 1.0), ("b", 2.0)):
        found, cached = known_seconds([call], {"cpu": cpu}, lambda calls, value=value: {calls[0]: value})
        assert (found, cached) == ({call: value}, False)
    found, cached = known_seconds([call], {"cpu": "a"}, lambda calls: pytest.fail("it is known"))
    assert (bare_seconds({call: 3}, found), cached) == (3.0, True)


GRADED: list[Call] = [
    ("denoiser", True, 2),
    ("denoiser chained", True, 2),
    ("denoiser to latents", True, 2),
    ("decode", True, 2),
    ("reward:brightness", True, 2),
]
PLAIN: list[Call] = [("denoiser", False, 2), ("decode", False, 2), ("encode", False, 2)]


@pytest.mark.parametrize(
    ("active", "train"),
    [({}, []), ({"a": 0.5, "b": 0.5}, []), ({"a": 1.0}, ["a"]), (dict.fromkeys("abcd", 1.0), ["d"])],
    ids=["none", "merged", "naive", "four"],
)
def test_the_same_is_measured_whatever_a_method_left_active(
    tiny_model, monkeypatch, active: Mapping[str, float], train: list[str]
) -> None:
    def operations(calls: list[Call]) -> int:
        with FlopCounterMode(display=False) as counted:
            unit_seconds(calls, tiny_model, {"brightness": Brightness()}, PROMPTS, rounds=1)
        return counted.get_total_flops()

    backward: list[torch.Tensor] = []
    of_torch = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda x: (backward.append(x), of_torch(x)))
    tiny_model.embed(PROMPTS[:2])
    plain = operations(PLAIN)
    alone = [operations([call]) for call in GRADED]
    assert len(backward) == 2 * len(GRADED)  # the warm-up, and one round

    for name in "abcd":
        tiny_model.add_adapter(name, seed_key=(1,))
    tiny_model.activate(active, train=train)
    before, counter = str(tiny_model.adapter_state()), tiny_model.counter.copy()
    parameters = [id(parameter) for parameter in tiny_model.parameters()]
    backward.clear()
    assert operations(PLAIN) == plain
    assert [operations([call]) for call in GRADED] == alone
    assert len(backward) == 2 * len(GRADED)

    assert (str(tiny_model.adapter_state()), tiny_model.counter) == (before, counter)
    assert [id(parameter) for parameter in tiny_model.parameters()] == parameters  # an optimizer holds them
    assert all(parameter.grad is None for parameter in tiny_model.parameters())


def test_a_call_that_has_lost_its_gradient_is_never_measured_without_its_backward_pass(tiny_model) -> None:
    with pytest.raises(RuntimeError, match="reward:jpeg_kb of 2 has no gradient"):
        unit_seconds([("reward:jpeg_kb", True, 2)], tiny_model, {"jpeg_kb": JpegKb()}, PROMPTS, rounds=1)
    assert not tiny_model.adapters


def test_the_key_has_all_that_the_seconds_depend_on(tiny_sequence) -> None:
    def key(changed: Mapping[str, Any] | None = None, **compute: bool) -> dict[str, Any]:
        sequence = load_sequence(tiny_sequence, changed or {})
        return cost_key(sequence, inputs_of(sequence), {"cpu": "a"}, Compute(**compute))

    same = key()
    assert key({"optimizer.lr": 1.0, "budget.updates": 9}) == same
    other = [
        key({"adapter.rank": 3}),
        key({"sampler.size": 16}),
        key({"evaluation.prompts": 2}),
        *(key(**{option: True}) for option in ("checkpointing", "slicing")),
    ]
    assert same not in other
