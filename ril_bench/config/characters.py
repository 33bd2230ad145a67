"""Text that may hold one half of a surrogate pair.

Escapes in JSON and YAML can write such a half, but no file can hold it.
"""

from __future__ import annotations


def whole_characters(text: str) -> str:
    """Joins the two halves of each character that was escaped as a pair.

    Raises ValueError if one half is missing.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def encodable(text: str) -> str:
    """Replaces each half of a surrogate pair with a question mark, so that a file can hold it."""
    return text.encode("utf-8", "replace").decode()
