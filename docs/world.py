"""Prints the measured quality of the embedded world's weights as a Markdown table."""

from __future__ import annotations

import json

from ril_bench.worlds.shapes import WEIGHTS


def main() -> None:
    quality = json.loads((WEIGHTS / "quality.json").read_text(encoding="utf-8"))
    print("| property | value |\n|---|---:|")
    for name, value in quality.items():
        print(f"| {name} | {value:.4g} |")


if __name__ == "__main__":
    main()
