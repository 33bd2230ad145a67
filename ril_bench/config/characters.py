"""Text with one half of a surrogate pair, which no file can hold, and text in which nothing can be seen.

Escapes in JSON and YAML can write such a half.
"""

from __future__ import annotations

#: letters and symbols that are drawn as nothing: fillers of Hangul, and the empty cell of Braille
BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def has_characters(text: str) -> bool:
    """Whether a text has anything that can be seen: spaces and invisible marks do not count."""
    return any(c.isprintable() and not c.isspace() and c not in BLANK for c in text)


def whole_characters(text: str) -> str:
    """Joins the two halves of each character that was escaped as a pair.

    Raises ValueError if one half is missing.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def encodable(text: str) -> str:
    """Replaces each half of a surrogate pair with a question mark, so that a file can hold it."""
    return text.encode("utf-8", "replace").decode()
