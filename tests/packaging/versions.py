"""Prints the direct dependencies with their installed versions, for `make test-lowest`."""

from __future__ import annotations

import re
from importlib.metadata import requires, version


def direct() -> list[str]:
    """The names of the required packages, without those that only an extra requires."""
    found = [line for line in requires("ril-bench") or [] if "extra ==" not in line]
    return [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in found]


if __name__ == "__main__":
    for name in direct():
        print(f"  {name} {version(name)}")
