from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ril_bench.reporting.film import choose

IDS = [f"{i:03d}" for i in range(40)]


def test_half_spread_evenly_half_the_worst() -> None:
    worst = {"009": 0.5, "020": 0.1, "003": 0.3, "031": 0.2, "030": 0.9}
    even, changed = choose(IDS, worst)
    assert changed == ["020", "031", "003", "009"]
    assert even == ["005", "015", "025", "035"]  # the middles of four equal parts of the other 36


@given(
    st.lists(st.sampled_from(IDS), unique=True).map(sorted),
    st.dictionaries(st.sampled_from(IDS), st.floats(-1, 1)),
    st.integers(1, 12),
)
def test_choice(ids: list[str], worst: dict[str, float], n: int) -> None:
    even, changed = choose(ids, worst, n)
    both = even + changed
    assert len(set(both)) == len(both) == min(n, len(ids))
    assert set(both) <= set(ids)
    assert even == sorted(even)
    assert len(changed) == min(n // 2, len(set(ids) & set(worst)))
    left = [worst[p] for p in ids if p in worst and p not in changed]
    assert all(worst[p] <= value for p in changed for value in left)
    assert choose(ids, dict(reversed(worst.items())), n) == (even, changed)
