"""The seeds of an order: from 0, without a hole, as many as method.yaml declares or fewer."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ril_bench.leaderboard.cards import seed_faults
from ril_bench.leaderboard.layout import Group
from ril_bench.leaderboard.record import MethodCard
from tests.leaderboard.world import CARD

GROUP = Group("mine", "0123456789ab", "shapes-ril", "reversed", "draft")


@given(found=st.sets(st.integers(0, 7)), declared=st.integers(3, 7))
def test_seeds_are_the_first_ones_and_at_most_those_declared(found: set[int], declared: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / GROUP.path).mkdir(parents=True)
        for seed in found:
            (root / GROUP.path / f"seed-{seed}").mkdir()
        card = MethodCard.model_validate({**CARD, "seeds": declared})
        faults = list(seed_faults(root / GROUP.path, found, card))
        some_refused = list(seed_faults(root / GROUP.path, found - {max(found, default=0)}, card))
    valid = any(found == set(range(n)) for n in range(3, declared + 1))
    assert valid == (not faults) or not found
    if valid:  # a seed that is refused has a fault of its own
        assert not some_refused
