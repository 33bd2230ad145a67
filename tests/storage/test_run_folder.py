"""The run folder when things go wrong: a kill, a full disk, a second run, an altered checkpoint."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ril_bench.errors import InfrastructureError, NumericalError, UserError
from ril_bench.storage.checkpoint import pack, unpack
from ril_bench.storage.digests import sha256_file, sha256_json
from ril_bench.storage.files import read_json
from ril_bench.storage.run_folder import RunFolder

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def same(a: Any, b: Any) -> bool:
    """Equal in type and value, NaN included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


# --- writing


def test_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert sha256_json({"b": 1, "a": "é"}) == hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        sha256_json(math.nan)


def test_json_for_people(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json(
        "a.json", {"nan": math.nan, 1: np.float32(0.5), "rows": np.array([[1.0, np.nan]]), "t": (1, "é")}
    )
    assert read_json(tmp_path / "a.json") == {"nan": None, "1": 0.5, "rows": [[1.0, None]], "t": [1, "é"]}
    with pytest.raises(NumericalError):
        folder.write_json("b.json", [math.inf])
    assert files(tmp_path) == {"a.json"}


def test_tables_read_back_to_the_bit(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [0.1 + 0.2, 1e-300, -0.0], "prompt_id": ["000", "001", "002"]})
    folder = RunFolder(tmp_path)
    folder.write_parquet("a.parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), table)
    folder.write_csv("a.csv", table[["x"]].rename_axis("step"))
    again = pd.read_csv(tmp_path / "a.csv", index_col="step", float_precision="round_trip")
    pd.testing.assert_frame_equal(again, table[["x"]].rename_axis("step"), check_exact=True)
    first = (tmp_path / "a.parquet").read_bytes()
    folder.write_parquet("a.parquet", table)
    assert (tmp_path / "a.parquet").read_bytes() == first


def test_many_files_in_folders_that_are_made(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.write_all({"step-1/images/000-0.png": b"1", "step-1/adapter.safetensors": b"2"})
    assert files(folder.step(1)) == {"images/000-0.png", "adapter.safetensors"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_is_raised_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.write_text("a", "old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(InfrastructureError, match="No space left"):
        folder.write_text("a", "new")
    assert files(tmp_path) == {"a"}
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        RunFolder(tmp_path / "file" / "run").write_text("a", "x")


# --- run.json and log.jsonl


def test_run_json(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.exists
    with pytest.raises(UserError, match=r"no run\.json"):
        folder.read_run()
    folder.update_run(status="running", seed=1)
    assert folder.update_run(status="complete") == folder.read_run() == {"status": "complete", "seed": 1}
    for text in ("[]", "{"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(UserError, match=r"run\.json"):
            folder.read_run()


def test_a_resume_writes_the_log_on_from_where_it_stands(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_log() == []
    lines = [{"task": task, "update": update, "loss": math.nan} for task in (1, 2) for update in range(3)]
    for line in lines:
        folder.append_log(line)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"task": 3, "upd')  # killed while writing
    assert [(line["task"], line["update"]) for line in folder.read_log()] == [
        (1, 0),
        (1, 1),
        (1, 2),
        (2, 0),
        (2, 1),
        (2, 2),
    ]
    folder.truncate_log(2, 1)
    folder.append_log(lines[4])
    whole = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert whole == [line | {"loss": None} for line in lines[:5]]
    (tmp_path / "log.jsonl").write_text("oops\n" + '{"task": 1}\n')
    with pytest.raises(UserError, match=r"log\.jsonl cannot be read"):
        folder.read_log()


# --- checkpoints


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


@settings(deadline=None)
@given(TREES)
def test_a_tree_comes_back_as_it_was(tree: Any) -> None:
    assert same(unpack(pack(tree)), tree)


@settings(deadline=None)
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
    assert same(found, tree)  # a bit that means nothing, such as one of the padding


def test_tensors_that_share_memory_or_are_views(tmp_path: Path) -> None:
    base = torch.arange(12.0, requires_grad=True)
    tree = {"a": base, "b": base, "t": base.view(3, 4).t(), "row": base[3:5]}
    again = unpack(pack(tree))
    assert all(torch.equal(again[name], tree[name]) for name in tree)
    assert not again["a"].requires_grad


def test_an_optimizer_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
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


def test_a_checkpoint_that_cannot_be_used_says_how_to_go_on(tmp_path: Path) -> None:
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
        assert caught.value.hint == "delete this file: the run goes on from the start of the task"
    folder.drop_checkpoints()
    folder.drop_checkpoints()
    assert files(tmp_path) == set()
