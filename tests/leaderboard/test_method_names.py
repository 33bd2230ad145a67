"""Names that a reader takes for one another are one name; names that ship are far enough apart."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench import registry
from ril_bench.leaderboard import method_names
from ril_bench.storage.digests import sha256_file

SHIPPED = sorted(path.stem for path in registry.shipped("baselines").glob("*.py"))


def faults(name: str, *others: str) -> list[str]:
    return [fault.what for fault in method_names.faults(name, others, "here")]


def test_names_that_ship_are_apart_and_allowed() -> None:
    for a, b in combinations(SHIPPED, 2):
        assert method_names.skeleton(a) != method_names.skeleton(b)
    assert not any(faults(name, *SHIPPED) for name in SHIPPED)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Mine", "mine"),
        ("m1ne", "mine"),
        ("rnine", "mine"),
        ("my-method", "my_method"),
        ("0ld", "old"),
        ("vvorse", "worse"),
    ],
)
def test_names_that_read_alike(name: str, other: str) -> None:
    assert faults(name, other) == [f"{name!r} reads like {other!r}, which is another method"]
    assert faults(other, name)
    assert faults(name) == []


@given(st.sampled_from(SHIPPED), st.data())
def test_no_other_case_of_a_shipped_name_is_free(name: str, data: st.DataObject) -> None:
    other = "".join(data.draw(st.sampled_from([letter, letter.upper()])) for letter in name)
    assert bool(faults(other)) == (other != name)


def test_a_digest_is_that_of_the_file() -> None:
    assert method_names.shipped_digest("naive") == sha256_file(registry.shipped("baselines") / "naive.py")
    assert method_names.shipped_digest("no-such-method") is None
