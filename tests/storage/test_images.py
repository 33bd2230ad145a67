"""Images of a run: whatever their files hold, they are read or refused."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ril_bench.errors import UserError
from ril_bench.storage.images import decoded, read_image

PIXELS = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)


def png() -> bytes:
    data = io.BytesIO()
    Image.fromarray(PIXELS).save(data, "PNG")
    return data.getvalue()


def test_a_whole_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), PIXELS)


@settings(max_examples=100)
@given(at=st.integers(0, 200), put=st.binary(max_size=8), cut=st.integers(0, 8))
def test_a_broken_image_is_read_or_refused(at: int, put: bytes, cut: int) -> None:
    data = png()
    with suppress(UserError):
        assert decoded(data[:at] + put + data[at + cut :], Path("a.png")).size


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("body", [b"", b"\x78\x9c", b"odd"])
def test_chunks_with_a_right_checksum_and_a_wrong_content(body: bytes) -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    data = (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"zTXt", b"k\0\0" + body)
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )
    with pytest.raises(UserError, match="cannot be used") as caught:
        decoded(data, Path("a.png"))
    assert caught.value.where == "a.png"
    assert "--repair" in str(caught.value.hint)


def test_an_image_that_is_missing_or_of_another_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_image(tmp_path / "none.png")
    Image.fromarray(PIXELS).save(tmp_path / "a.png", "JPEG")
    with pytest.raises(UserError, match="cannot identify"):
        read_image(tmp_path / "a.png")
