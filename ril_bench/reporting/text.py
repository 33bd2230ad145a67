"""Numbers as a reader wants them; what is missing is an en dash, never 0."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from ril_bench.storage.entry_note import LEVELS
from ril_bench.storage.run_files import number

MISSING = "–"
MINUS = "−"


def decimals(values: Iterable[float | None], significant: int = 3) -> int:
    """Decimal places that give the largest value `significant` digits: one choice for a whole column."""
    largest = max((abs(v) for v in map(number, values) if v is not None), default=0.0)
    if largest == 0:
        return significant - 1
    return min(max(significant - 1 - math.floor(math.log10(largest)), 0), 5)


def fixed(value: float | None, places: int = 2) -> str:
    """A number with a true minus sign; -0.00 is 0.00."""
    if (value := number(value)) is None:
        return MISSING
    text = f"{value:.{places}f}"
    return text.replace("-", MINUS) if float(text) else text.removeprefix("-")


def short(value: float | None) -> str:
    """A number with three digits that count."""
    return fixed(value, decimals([value]))


def signed(value: float | None, places: int | None = None) -> str:
    """A number with its sign, also where it is positive."""
    shown = short(value) if places is None else fixed(value, places)
    return f"+{shown}" if (number(value) or 0.0) > 0 and shown.strip("0.") else shown


def p_value(value: float) -> str:
    """A p value with its comparison: "= 0.012" or "< 0.001"."""
    return "< 0.001" if value < 0.001 else f"= {fixed(value, 3)}"


def count(value: float | None) -> str:
    """A whole number in groups of three, set apart by narrow spaces."""
    return (
        MISSING
        if (value := number(value)) is None
        else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    )


def seconds(value: float | None) -> str:
    if (value := number(value)) is None:
        return MISSING
    if value < 99.5:
        return f"{fixed(value, 1)} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: float | None) -> str:
    """Bytes in decimal units."""
    if (value := number(value)) is None:
        return MISSING
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    return f"{fixed(value, 0 if unit == 'B' else 1)} {unit}"


def ratio(value: float | None) -> str:
    return MISSING if number(value) is None else f"{fixed(value, 2)}×"


def slugs(texts: Iterable[str]) -> list[str]:
    """A file name for each text: letters, digits and "._=+@-", no two alike whatever the case."""
    taken: set[str] = set()
    names = []
    for words in texts:
        stem = re.sub(r"[^A-Za-z0-9._=+@-]+", "-", words).strip("-.")[:120] or "run"
        name, k = stem, 1
        while name.lower() in taken:
            k += 1
            name = f"{stem}-{k}"
        taken.add(name.lower())
        names.append(name)
    return names


def levels(found: Iterable[str]) -> str:
    """The lowest level of several entries, and how many have a higher one: "resampled; 1 of 10 reproduced".

    Empty for runs that are no entries.
    """
    counts = Counter(found)
    present = [level for level in LEVELS if counts[level]]
    higher = (f"{counts[level]} of {counts.total()} {level}" for level in present[1:])
    return "; ".join([*present[:1], *higher])
