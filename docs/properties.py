"""Prints what the shipped sequences of the embedded world can show, from their calibrations, as Markdown."""

from __future__ import annotations

import sys

from ril_bench import load_sequence
from ril_bench.metrics.properties import PROPERTIES
from ril_bench.sequences.calibrations import Calibration, load_calibration

VERDICTS = {True: "", False: " (**fails**)", None: ""}


def calibration(name: str) -> Calibration:
    found = load_calibration(load_sequence(name), official=True)
    assert found is not None, f"{name} ships with a calibration"
    return found


def main(names: list[str]) -> None:
    """A row a property and a column a sequence; then the gain and the gradient of each task; then how it was made."""
    found = {name: calibration(name) for name in names}
    measured = {name: each.properties or {} for name, each in found.items()}
    print(f"| property | bound | {' | '.join(f'`{name}`' for name in names)} |")
    print(f"|---|---|{'---:|' * len(names)}")
    for key, known in PROPERTIES.items():
        cells = []
        for records in measured.values():
            record = records.get(key)
            shown = "-" if record is None or record.value is None else f"{record.value:.3g}"
            cells.append(shown + VERDICTS[record.holds if record else None])
        print(f"| {known.words} | {known.bound_in_words} | {' | '.join(cells)} |")
    print("\n| sequence | task | gain alone (sigma) | gradient norm | joint's last model (N) |")
    print("|---|---|---:|---:|---:|")
    for name, records in measured.items():
        for task in load_sequence(name).order:
            parts = (records[key].parts.get(task) for key in ("headroom", "equal_gradients", "attainable"))
            cells = [f"{part:.3g}" if part is not None else "-" for part in parts]
            print(f"| `{name}` | {task} | {' | '.join(cells)} |")
    print("\n| sequence | seeds | commit | torch | processor |")
    print("|---|---|---|---|---|")
    for name, each in found.items():
        made = each.made_with
        seeds = ", ".join(f"{method} {min(used)} to {max(used)}" for method, used in made["seeds"].items())
        print(
            f"| `{name}` | {seeds} | {made['git']['revision'][:7]} | {made['versions']['torch']} | {made['cpu']} |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
