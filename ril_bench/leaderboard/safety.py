"""Whether a file may be opened at all: its kind, name and size first, then its header, and nothing more.

Nothing here trusts what it reads: no link is followed, and whatever a header promises is held against a limit before
memory is asked for. Every fault is a UserError, given and not raised, so that all are found at once.
"""

from __future__ import annotations

import inspect
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.types as kinds
from pyarrow import compute, parquet

from ril_bench.config.characters import whole_characters
from ril_bench.errors import UserError
from ril_bench.leaderboard.layout import KB, MB, NAME
from ril_bench.storage.names import SCORES

DEPTH = 24  # of nested JSON
LARGEST = 10**15  # number in JSON: no cost, size or count of a run reaches it
PIXELS, SIDE = 8_000_000, 8192
ROWS, UNPACKED, ROW_GROUPS = 2_000_000, 32 * MB, 100  # of a Parquet file
TEXT = 200  # characters of a name in a table
START_CODE = b"\x9d\x01\x2a"  # of a key frame of VP8
COLUMNS = {
    "step": kinds.is_int64,
    "reward": kinds.is_dictionary,  # as text is read here; numbers are never coded
    "prompt_id": kinds.is_dictionary,
    "sample": kinds.is_int64,
    "score": kinds.is_float64,
    "trained": kinds.is_boolean,
}
CODED = ("reward", "prompt_id")  # columns of text
#: how a column may be compressed. Snappy makes data at most about 21 times smaller, so the size of the file bounds what
#: it unpacks to; under others it does not, and the footer may state any size
CODECS = ("SNAPPY", "UNCOMPRESSED")
#: versions of pyarrow without this option read no type of an extension
_NO_EXTENSIONS: dict[str, Any] = (
    {"arrow_extensions_enabled": False}
    if "arrow_extensions_enabled" in inspect.signature(parquet.ParquetFile).parameters
    else {}
)
WITHIN = {"update": kinds.is_int64}  # one more, in anytime.parquet
DEEPEST = 10  # folders of a path


def walk(folder: Path, depth: int = DEEPEST) -> Iterator[tuple[Path, int, UserError | None]]:
    """Each file at or below a folder, in order: (path, bytes, what is wrong with its kind or name).

    Links are faults and are not followed; anything else than a file or a folder is a fault. So is an empty folder:
    git stores none, and a submodule looks like one.
    """
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        path, found = Path(item.path), item.stat(follow_symlinks=False)
        where = str(path)
        if stat.S_ISLNK(found.st_mode):
            fault: UserError | None = UserError(
                "a symbolic link", where=where, hint="put the file itself in its place"
            )
        elif not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
            fault = UserError("neither a file nor a folder", where=where, hint="delete it")
        elif not NAME.fullmatch(item.name):
            fault = UserError(
                f"a name that is not allowed in an entry: {item.name!r}"[:TEXT],
                where=str(path.parent),
                hint="letters, digits and . _ = , + @ - only, as `ril-bench submit` writes them",
            )
        elif stat.S_ISDIR(found.st_mode):
            if not os.listdir(path):
                fault = UserError(
                    "an empty folder, as a git submodule leaves it", where=where, hint="delete it"
                )
            elif depth:
                yield from walk(path, depth - 1)
                continue
            else:
                fault = UserError("too many nested folders", where=where, hint="delete it")
        else:
            fault = None
        yield path, found.st_size, fault


def image(path: Path) -> Iterator[UserError]:
    """Faults of a WebP by its headers alone: it is one lossy frame without metadata, and its size is bounded.

    Nothing may follow the frame or stand beside it: a file that is two things at once shows another image elsewhere.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(30)
    riff, frame = int.from_bytes(head[4:8], "little"), int.from_bytes(head[16:20], "little")
    width, height = (int.from_bytes(head[i : i + 2], "little") & 0x3FFF for i in (26, 28))
    whole = riff + 8 == size and frame + frame % 2 + 20 == size
    key_frame = len(head) == 30 and head[20] % 2 == 0 and head[23:26] == START_CODE
    if head[:4] != b"RIFF" or head[8:16] != b"WEBPVP8 " or not (whole and key_frame and width and height):
        yield UserError("not a WebP of one plain frame", where=str(path), hint=_AGAIN)
    elif max(width, height) > SIDE or width * height > PIXELS:
        yield UserError(
            f"a huge image: {width} x {height} pixels",
            where=str(path),
            hint=f"at most {PIXELS:,} pixels and {SIDE:,} on a side, as `ril-bench submit` writes it",
        )


def table(path: Path) -> Iterator[UserError]:
    """Faults of a Parquet file by its footer alone: it needs the columns of scores, and bounded rows and bytes."""
    columns = COLUMNS if path.name == SCORES else {**COLUMNS, **WITHIN}
    try:
        file = _parquet(path)
        meta, schema = file.metadata, file.schema_arrow
    except (OSError, ValueError, KeyError) as error:  # Arrow's own errors are of these
        yield UserError(f"not a Parquet file: {error}"[:TEXT], where=str(path), hint=_AGAIN)
        return
    unpacked = sum(meta.row_group(i).total_byte_size for i in range(min(meta.num_row_groups, ROW_GROUPS)))
    if meta.num_rows > ROWS or unpacked > UNPACKED or meta.num_row_groups > ROW_GROUPS:
        yield UserError(
            f"a table that unpacks to {meta.num_rows:,} rows in {meta.num_row_groups:,} groups, {unpacked:,} bytes",
            where=str(path),
            hint=f"at most {ROWS:,} rows, {ROW_GROUPS} groups and {UNPACKED:,} bytes",
        )
        return
    groups = (meta.row_group(i) for i in range(meta.num_row_groups))
    codecs = {group.column(j).compression for group in groups for j in range(group.num_columns)}
    if others := sorted(codecs - set(CODECS)):
        yield UserError(
            f"compressed with {', '.join(others)}", where=str(path), hint=f"write it with {CODECS[0].lower()}"
        )
        return
    found = {field.name: field.type for field in schema}
    if set(found) != set(columns) or len(schema) != len(columns):
        yield UserError(
            f"its columns are {', '.join(schema.names)[:TEXT]}",
            where=str(path),
            hint=f"write {', '.join(columns)}",
        )
        return
    for name, fits in columns.items():
        if not fits(found[name]):
            yield UserError(f"the column {name} holds {found[name]}"[:TEXT], where=str(path), hint=_AGAIN)


def read_table(path: Path) -> pyarrow.Table:
    """The rows of a file that has passed `table`.

    Text stays coded by its dictionary: one long word, repeated, would else unpack to any size. Raises UserError
    where a page does not hold what the footer promised, or a name is longer than names are.
    """
    try:
        rows = _parquet(path).read()
        longest = max(_longest(rows.column(name)) for name in CODED)
        if longest > TEXT:
            raise ValueError(f"a name of {longest:,} characters")
        return rows
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot be unpacked: {error}"[:TEXT], where=str(path), hint=_AGAIN) from error


def _parquet(path: Path) -> parquet.ParquetFile:
    return parquet.ParquetFile(
        path,
        read_dictionary=list(CODED),
        thrift_string_size_limit=1 * MB,
        thrift_container_size_limit=100 * KB,
        page_checksum_verification=True,
        **_NO_EXTENSIONS,
    )


def _longest(column: pyarrow.ChunkedArray) -> int:
    """Characters of the longest word of a coded column."""
    words = (compute.max(compute.utf8_length(part.dictionary)).as_py() for part in column.chunks)
    return max(filter(None, words), default=0)


def read_plain_json(path: Path) -> Any:
    """Reads plain JSON: numbers of at most LARGEST, each key once, nested at most DEPTH deep.

    Raises UserError where it is not.
    """
    try:
        text = path.read_bytes().decode()  # UTF-8 alone, without a mark
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_not_finite)
        _plain(value, DEPTH)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError too
        raise UserError(f"not plain JSON: {error}"[:TEXT], where=str(path), hint=_AGAIN) from error
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _not_finite(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _plain(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"nested deeper than {DEPTH}")
    if isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise ValueError("a number is too large")
    if isinstance(value, float) and 0 < abs(value) < sys.float_info.min:
        raise ValueError("a number is too small for its digits")
    if isinstance(value, str):
        whole_characters(value)
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for key in value if isinstance(value, dict) else ():
        whole_characters(key)
    for item in inside:
        _plain(item, depth - 1)


_AGAIN = "write the entry again: ril-bench submit RUN"
