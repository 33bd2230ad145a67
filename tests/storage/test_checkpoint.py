"""Checkpoints are equal after a round trip, and damaged files are refused."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.errors import UserError
from ril_bench.storage.checkpoint import pack, unpack
from ril_bench.storage.run_folder import RunFolder

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal in type and value; NaN equals NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


TENSORS = st.builds(
    lambda shape, dtype, seed: torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(
        dtype
    ),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.sampled_from(DTYPES),
    st.integers(0, 9),
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.booleans() | st.integers() | st.text(max_size=8) | st.tuples(st.integers(), st.text(max_size=3))
TREES = st.recursive(
    TENSORS | PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(TREES)
def test_a_tree_comes_back_as_it_was(tree: Any) -> None:
    assert same(unpack(pack(tree)), tree)


@given(st.data())
def test_truncated_or_altered_bytes_never_pass_for_the_tree(data: st.DataObject) -> None:
    tree = {"weights": torch.arange(6.0), "state": {0: (torch.ones(2), 0.5)}, "update": 7}
    whole = pack(tree)
    if data.draw(st.booleans(), "truncate"):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        place = data.draw(st.integers(0, len(whole) - 1))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unpack(bytes(damaged))
    except ValueError:
        return
    assert same(found, tree)  # the altered bit has no meaning, such as a bit of padding


def test_tensors_that_share_memory_or_are_views(tmp_path: Path) -> None:
    base = torch.arange(12.0, requires_grad=True)
    tree = {"a": base, "b": base, "t": base.view(3, 4).t(), "row": base[3:5]}
    again = unpack(pack(tree))
    assert all(torch.equal(again[name], tree[name]) for name in tree)
    assert not again["a"].requires_grad


def test_an_optimizer_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)

    def step(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (weight**3).sum().backward()
        optimizer.step()

    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    step(weight, optimizer)
    folder.save_checkpoint("latest", {"weight": weight, "optimizer": optimizer.state_dict()})
    step(weight, optimizer)

    state = folder.load_checkpoint("latest")
    other = torch.nn.Parameter(state["weight"])
    resumed = torch.optim.AdamW([other], lr=0.5)
    resumed.load_state_dict(state["optimizer"])
    step(other, resumed)
    assert torch.equal(other, weight)


@pytest.mark.parametrize("value", [object(), {1, 2}, np.float64(1), {"a": [b"bytes"]}])
def test_only_tensors_and_plain_values_are_stored(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TypeError, match="tree"):
        RunFolder(tmp_path).save_checkpoint("latest", value)
    assert files(tmp_path) == set()


def test_the_error_for_a_damaged_checkpoint_states_how_to_go_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.load_checkpoint("latest") is None
    folder.save_checkpoint("latest", {"a": torch.ones(3)})
    file = folder.checkpoint("latest")
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-1] + b"\x01"):
        file.write_bytes(damaged)
        with pytest.raises(UserError) as caught:
            folder.load_checkpoint("latest")
        assert caught.value.where == str(file)
        assert (
            caught.value.hint
            == "delete this file, or add --repair: the run goes on from the start of the task"
        )
    folder.drop_checkpoints()
    folder.drop_checkpoints()
    assert files(tmp_path) == set()


def test_a_tensor_keeps_its_strides_so_that_sums_after_a_resume_have_the_same_bits() -> None:
    factor = torch.linalg.qr(torch.rand(50, 30, generator=torch.Generator().manual_seed(0))).Q
    part, repeated = factor[3:9, 1:5], factor[:1].expand(4, 30)
    tree = {"columns first": factor, "transposed": factor.T, "part": part, "repeated": repeated}
    again = unpack(pack(tree))
    assert all(again[name].stride() == tree[name].stride() for name in tree)
    vector = torch.rand(30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again["columns first"] @ vector, factor @ vector)


def test_a_checkpoint_runs_no_code() -> None:
    class Nasty:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("exit 3",)

    buffer = io.BytesIO()
    torch.save(Nasty(), buffer)
    saved = buffer.getvalue()
    with pytest.raises(ValueError, match="Weights only load failed"):
        unpack(hashlib.sha256(saved).digest() + saved)
