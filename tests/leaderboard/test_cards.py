"""The seeds of an order: from 0, without a hole, as many as method.yaml declares or fewer."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.leaderboard.cards import card_faults
from ril_bench.leaderboard.layout import Group
from tests.leaderboard.world import CARD

GROUP = Group("mine", "0123456789ab", "shapes-ril", "reversed", "draft")


@given(found=st.sets(st.integers(0, 7)), declared=st.integers(3, 7))
def test_seeds_are_the_first_ones_and_at_most_those_declared(found: set[int], declared: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / GROUP.path).mkdir(parents=True)
        for seed in found:
            (root / GROUP.path / f"seed-{seed}").mkdir()
        revision = root / GROUP.method / GROUP.revision
        (revision / "method.yaml").write_text(yaml.safe_dump({**CARD, "seeds": declared}))
        faults = [fault.what for check, fault in card_faults(revision, [GROUP], root, []) if check == "seeds"]
    valid = any(found == set(range(n)) for n in range(3, declared + 1))
    assert valid == (not faults)
