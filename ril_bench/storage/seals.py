"""JSON that carries a digest of itself, so that any changed byte is noticed.

The digest is the last value of the object. It is computed from the text in which it is still empty.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

from ril_bench.errors import NumericalError
from ril_bench.storage.files import to_json

SEAL = "sha256"
_EMPTY = f'"{SEAL}": ""'
CHECK = "crc32"  # of one line of a log


def sealed(value: Mapping[str, Any]) -> str:
    """An object as JSON with its seal. Raises NumericalError for an infinity."""
    text = to_json({**value, SEAL: ""})
    start = text.rindex(_EMPTY) + len(_EMPTY) - 1
    return text[:start] + hashlib.sha256(text.encode()).hexdigest() + text[start:]


def unsealed(data: bytes) -> tuple[dict[str, Any], bool]:
    """The object in a JSON text, and whether it had a seal.

    Raises ValueError where the text is no JSON object, or is not what its seal states.
    """
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("expected a JSON dict")
    if SEAL not in value:
        return value, False
    seal = value.pop(SEAL)
    before, found, after = data.rpartition(f'"{SEAL}": "{seal}"'.encode())
    if not found or hashlib.sha256(before + _EMPTY.encode() + after).hexdigest() != seal:
        raise ValueError("its content does not match its digest: it was changed or is damaged")
    return value, True


def checked_line(value: Mapping[str, Any]) -> str:
    """An object as one line of JSON with its checksum."""
    text = to_json(value, indent=None)
    return to_json({**value, CHECK: f"{zlib.crc32(text.encode()):08x}"}, indent=None)


def unchecked_line(line: bytes) -> tuple[dict[str, Any], bool]:
    """The object in a line, and whether it had a checksum.

    Raises ValueError where the line is no JSON object, or is not what its checksum states.
    """
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("expected a JSON dict")
    if CHECK not in value:
        return value, False
    value.pop(CHECK)
    try:
        whole = checked_line(value).encode() == line + b"\n"
    except NumericalError:  # a changed digit made a number infinite
        whole = False
    if not whole:
        raise ValueError("a line does not match its checksum: it was changed or is damaged")
    return value, True
