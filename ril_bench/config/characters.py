"""Text that may hold halves of surrogate pairs, as JSON and YAML escapes can write them: no file can hold a half."""

from __future__ import annotations


def whole_characters(text: str) -> str:
    """Joins the two halves of a character that was escaped as a pair. Raises ValueError if one half is missing."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def encodable(text: str) -> str:
    """The text with a question mark for every half of a surrogate pair, so that any file can hold it."""
    return text.encode("utf-8", "replace").decode()
