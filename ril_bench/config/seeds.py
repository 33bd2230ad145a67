"""Seeds as the command line writes them: single numbers and ranges, "0-4,7"."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ril_bench.errors import UserError

_PART = re.compile(r"(\d+)(?:-(\d+))?")
MOST = 10_000  # seeds of one range: a longer range is a typing error


def parse_seeds(texts: Iterable[str], option: str = "--seed") -> list[int]:
    """The seeds that texts such as "0-4,7" name: each seed once, in the given order.

    Other numbers may be written so, too; `option` names them. A range includes both of its ends. Raises UserError for a
    text that is not a list of numbers and ranges, for a range that runs backwards, and for a range that is too long.
    """
    seeds: dict[int, None] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not 0 <= last - first < MOST:
            raise UserError(
                f"{part!r} names no {option.strip('-').removesuffix('s')}s",
                where=option,
                hint="write 0, 0-4 or 0-4,7",
            )
        seeds |= dict.fromkeys(range(first, last + 1))
    return list(seeds)
