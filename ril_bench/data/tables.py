"""Tables and lists of text in a user's files: .txt, .csv, .tsv, .json, .jsonl, .parquet.

Reads exactly what a file says or states its fault with the line: it guesses no encoding, no separator and no
header. Only the columns that are asked for are read. A name is a name: no character in it is a pattern.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from ril_bench.config.characters import has_characters, whole_characters
from ril_bench.errors import UserError

#: the suffixes of files that can be read, in small letters
SUFFIXES = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".parquet")
LONGEST = 1_000_000  # characters of one field of a CSV file
#: marks at the start of a file; those of UTF-32 begin like one of UTF-16, so they come first
_MARKS = {
    b"\xef\xbb\xbf": "utf-8", b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16",
}  # fmt: skip
_MARK = "\ufeff"


@dataclass(frozen=True)
class Table:
    """The columns of a file.

    Attributes:
        path: the file.
        names: the names of all columns.
        texts: the names of the columns that hold text.
        column: the values of a column, in the order of the rows; None for a row that lacks it.
        headless: the first line of a file that may have no names of columns; else None.
    """

    path: Path
    names: list[str]
    texts: list[str]
    column: Callable[[str], list[Any]]
    headless: str | None = None


def has_known_suffix(reference: str) -> bool:
    """Whether a reference ends as a file does that `read_table` reads."""
    return Path(reference).suffix.lower() in SUFFIXES


def read_table(path: Path) -> Table:
    """The table in a file; a .txt is a table of one column, "text", without its blank lines.

    Raises UserError where the file cannot be read, or is not what its suffix says.
    """
    try:
        match path.suffix.lower():
            case ".parquet":
                return _parquet(path)
            case ".txt":
                lines = [line.strip() for line in _lines(path)]
                return _of_rows(path, [{"text": line} for line in lines if has_characters(line)])
            case ".csv":
                return _separated(path, ",", csv.QUOTE_MINIMAL)
            case ".tsv":
                return _separated(path, "\t", csv.QUOTE_NONE)  # texts may contain unpaired quotes
            case ".jsonl":
                return _of_rows(path, list(_json_lines(path)))
            case _:
                return _json(path)
    except OSError as error:
        raise _unreadable(path, error.strerror or error) from error


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a text that can be seen, without the character NUL."""
    return isinstance(value, str) and "\0" not in value and has_characters(value)


def kind_of(value: object) -> str:
    """What a value is that is no text, in words."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        return f"it is a {type(value).__name__}"
    if isinstance(value, str) or value is None:
        return "nothing in it can be seen"
    return "it is a number (in a CSV file: all values of its column are)"


def _unreadable(path: Path, why: object, line: int | None = None) -> UserError:
    place = f"line {line}: " if line else ""
    return UserError(f"cannot read the file: {place}{why}", where=str(path), hint="correct the file")


# -- text ----------------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 where the file begins with its mark.

    Marks at the start of a line are left out: files that were joined have some.
    """
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _not_text(path, data[: error.start].count(b"\n") + 1, encoding) from error
    if "\0" in text:  # UTF-16 without its mark is valid UTF-8
        raise _not_text(path, text[: text.index("\0")].count("\n") + 1, encoding)
    return text.removeprefix(_MARK).replace(f"\n{_MARK}", "\n")


def _not_text(path: Path, line: int, encoding: str) -> UserError:
    what = f"cannot read the file: line {line} is not {encoding.upper()}"
    return UserError(what, where=str(path), hint="save the file in UTF-8")


def _lines(path: Path) -> list[str]:
    return _text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _separated(path: Path, separator: str, quoting: Any) -> Table:
    csv.field_size_limit(LONGEST)
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise _unreadable(path, error, reader.line_num) from error
    if not rows:
        return _of_rows(path, [])
    (_, names), *rows = rows
    names = [name.strip() for name in names]
    _refuse_other_separators(path, names, separator)
    if len(set(names)) < len(names):
        raise _unreadable(path, "two columns have the same name", 1)
    for line, row in rows:
        if len(row) > len(names) or (len(row) < len(names) and separator == ","):
            raise UserError(
                f"cannot read the file: line {line} has {len(row)} columns, and the header has {len(names)}",
                where=str(path),
                hint='put a text that contains a comma into quotes: "a cat, oil painting"'
                if separator == ","
                else "remove the extra tabs",
            )
    columns: dict[str, list[Any]] = {
        name: [row[k] if k < len(row) else None for _, row in rows] for k, name in enumerate(names)
    }
    for name, values in columns.items():
        if all(map(_is_number, values)):
            columns[name] = [float(str(value)) for value in values]
    texts = [name for name, values in columns.items() if any(isinstance(value, str) for value in values)]
    named = len(names) > 1 and all(name.isidentifier() for name in names)
    return Table(path, names, texts, columns.__getitem__, None if named else text.split("\n")[0].strip())


def _refuse_other_separators(path: Path, names: list[str], separator: str) -> None:
    """A header that is one long name because its columns are separated in another way."""
    if names[0].lower().startswith("sep="):
        raise UserError(
            f"cannot read the file: its first line, {names[0]}, is for a spreadsheet program",
            where=str(path),
            hint="delete that line",
        )
    others = [other for other in (";", "\t", ",", "|") if other != separator and other in names[0]]
    if len(names) == 1 and others:
        kind = {"\t": "tabs", ",": "commas"}.get(others[0], f'"{others[0]}"')
        raise UserError(
            f"cannot read the file: its columns seem to be separated by {kind}",
            where=str(path),
            hint="save it with commas as .csv, or with tabs as .tsv",
        )


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


# -- JSON and Parquet ----------------------------------------------------------------------------------------


def _json(path: Path) -> Table:
    """A JSON list of texts or of objects, or an object of lists; lines of JSON are taken too."""
    text = _text(path)
    if not text.strip():
        return _of_rows(path, [])
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if "\n" in text.strip() and text.lstrip().startswith("{"):
            return _of_rows(path, list(_json_lines(path)))
        raise _unreadable(path, error) from error
    if isinstance(value, dict) and value and all(isinstance(item, list) for item in value.values()):
        if len({len(item) for item in value.values()}) > 1:
            raise _unreadable(path, "its lists have different lengths")
        value = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    rows = value if isinstance(value, list) else [value]
    return _of_rows(path, [row if isinstance(row, dict) else {"text": row} for row in rows])


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _unreadable(path, error, number) from error
            yield value if isinstance(value, dict) else {"text": value}


def _of_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    texts = [name for name in names if all(isinstance(row.get(name), str) for row in rows)]
    return Table(path, names, texts, lambda name: [_whole(row.get(name)) for row in rows])


def _whole(value: Any) -> Any:
    """A value; a text with half of an escaped character is no text."""
    try:
        return whole_characters(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _parquet(path: Path) -> Table:
    import pyarrow
    from pyarrow import parquet
    from pyarrow import types as kinds

    def is_text(kind: pyarrow.DataType) -> bool:
        kind = kind.value_type if kinds.is_dictionary(kind) else kind
        return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))

    try:
        with path.open("rb") as file:
            schema = parquet.ParquetFile(file).schema_arrow
    except (ValueError, KeyError, NotImplementedError) as error:  # Arrow's own errors are of these
        raise _unreadable(path, error) from error

    def column(name: str) -> list[Any]:
        try:
            with path.open("rb") as file:
                return list(parquet.ParquetFile(file).read(columns=[name]).column(0).to_pylist())
        except (OSError, ValueError, KeyError, NotImplementedError) as error:
            raise _unreadable(path, error) from error

    texts = [field.name for field in schema if is_text(field.type)]
    return Table(path, [sys.intern(name) for name in schema.names], texts, column)
