"""What opens an untrusted file takes any bytes: it gives a value or a UserError, and nothing else."""

from __future__ import annotations

import io
import json
import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ril_bench.errors import UserError
from ril_bench.leaderboard import safety

number = st.integers(-(10**15), 10**15) | st.floats(-1e15, 1e15, allow_subnormal=False)
plain = st.recursive(
    st.none() | st.booleans() | number | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
one_folder = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@one_folder
@given(plain)
def test_plain_json_comes_back(tmp_path: Path, value: object) -> None:
    (tmp_path / "x.json").write_text(json.dumps(value))
    assert safety.read_plain_json(tmp_path / "x.json") == value


@one_folder
@given(
    st.binary(max_size=60)
    | st.text(alphabet='[]{}",:-+.eE0123456789NaInfity\\ud8 ', max_size=60).map(str.encode)
)
def test_any_bytes_are_json_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.json").write_bytes(data)
    try:
        value = safety.read_plain_json(tmp_path / "x.json")
    except UserError:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "text",
    [
        "NaN", "-Infinity", "1e999", '{"a": 1, "a": 2}', "[" * 30 + "]" * 30, "[" * 200_000, "9" * 5000, "9" * 401,
        "1e16", "5e-324",
        '"\\ud800"', '{"\\ud800": 1}', "", "\ufeff1",
    ],
)  # fmt: skip
def test_json_that_is_not_plain(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match="not plain JSON"):
        safety.read_plain_json(tmp_path / "x.json")


@one_folder
@given(
    st.binary(max_size=40)
    | st.binary(min_size=10, max_size=40).map(
        lambda rest: b"RIFF" + (len(rest) + 12).to_bytes(4, "little") + b"WEBPVP8 " + rest
    )
)
def test_any_bytes_are_an_image_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.webp").write_bytes(data)
    assert all(isinstance(fault, UserError) for fault in safety.image(tmp_path / "x.webp"))


@pytest.mark.parametrize("size", [(1, 1), (1000, 700), (4000, 2000), (4000, 2001), (2, 8193)])
def test_the_size_of_an_image_is_read_from_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "WEBP")
    (tmp_path / "x.webp").write_bytes(file.getvalue())
    huge = math.prod(size) > safety.PIXELS or max(size) > safety.SIDE
    assert [fault.what[:12] for fault in safety.image(tmp_path / "x.webp")] == ["a huge image"] * huge


@one_folder
@given(st.integers(0, 29), st.integers(1, 255))
def test_a_changed_header_is_never_a_larger_image(tmp_path: Path, at: int, change: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "WEBP")
    data = bytearray(file.getvalue())
    data[at] ^= change
    (tmp_path / "x.webp").write_bytes(data)
    if not list(safety.image(tmp_path / "x.webp")):
        with suppress(OSError), Image.open(tmp_path / "x.webp") as image:
            assert math.prod(image.size) <= safety.PIXELS


@one_folder
@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda middle: b"PAR1" + middle + b"PAR1"))
def test_any_bytes_are_a_table_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "scores.parquet").write_bytes(data)
    faults = list(safety.table(tmp_path / "scores.parquet"))
    assert faults
    assert all(isinstance(fault, UserError) for fault in faults)


def test_too_deep_folders_are_one_fault(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["a"] * 40)
    deep.mkdir(parents=True)
    (deep / "x").write_text("x")
    found = [fault for _, _, fault in safety.walk(tmp_path) if fault]
    assert [fault.what for fault in found] == ["too many nested folders"]
