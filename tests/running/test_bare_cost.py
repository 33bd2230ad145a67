"""The bare cost of a kind of call is measured once on a machine."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ril_bench.running.bare_cost import Call, bare_seconds, known_seconds

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
