"""Trees of figures: a tree equals itself, and a changed leaf is named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.leaderboard.differences import differences, listed

leaf = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1e6, 1e6) | st.text("ab", max_size=2)
trees = st.recursive(
    leaf,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, min_size=1)
    ),
    max_leaves=8,
)


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    return [path] if items is None else [p for k, inner in items for p in leaves(inner, (*path, k))]


def changed(tree: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return "changed"
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = changed(tree[path[0]], path[1:])
    return copy


@given(trees, st.data())
def test_a_changed_leaf_is_the_one_that_is_named(tree: Any, data: st.DataObject) -> None:
    assert list(differences(tree, tree)) == []
    path = data.draw(st.sampled_from(leaves(tree)))
    (said,) = differences(changed(tree, path), tree)
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
    assert said.startswith(f"{name} is 'changed', not ")


@given(st.floats(1e-3, 1e6), st.floats(-3e-6, 3e-6))
def test_numbers_may_differ_in_their_last_bits(value: float, share: float) -> None:
    near = abs(share) < 1e-6 * (1 - 1e-6)
    far = abs(share) > 1e-6 * (1 + 1e-5)
    found = list(differences({"a": value * (1 + share)}, {"a": value}))
    assert not (near and found)
    assert not (far and not found)


@pytest.mark.parametrize(
    ("claimed", "found", "same"),
    [
        (None, math.nan, True),
        (0.0, math.nan, False),
        (1, 1.0, True),
        (True, 1, False),
        (np.float64(2), 2, True),
        ([1, 2], [1], False),
        ({"a": 1}, {}, False),
        ({}, {"a": 1}, False),
        ({"a": None}, {}, True),
        ("1", 1, False),
    ],
)
def test_what_counts_as_equal(claimed: Any, found: Any, same: bool) -> None:
    assert (list(differences(claimed, found)) == []) == same


def test_many_differences_are_shortened() -> None:
    assert listed(["a is 1, not 2"]) == "a is 1, not 2"
    assert listed([str(i) for i in range(9)]).endswith("; and 4 more")
