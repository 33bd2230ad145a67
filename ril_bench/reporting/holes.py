"""A table with holes is refused: every cell that is missing is named, with the command that makes it."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence

from ril_bench.errors import UserError
from ril_bench.storage.read import StoredRun, dig

Unit = tuple[str, int | None]


def refuse_holes(runs: Sequence[StoredRun]) -> None:
    """Raises UserError unless, within a sequence and a tuner, every method has every unit, complete and once.

    A unit is an (order, seed) pair. Averages over different units would compare seeds, not methods.
    """
    if not runs:
        raise UserError("there is no run to show", hint="name folders that hold runs")
    groups: dict[tuple[str, str], dict[str, dict[Unit, StoredRun]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        cells = groups[run.sequence, run.tuner][run.name]
        unit = (run.order, run.seed)
        if unit in cells:
            raise UserError(
                f"two runs of one cell: {run.name} on {run.sequence}, order {run.order}, seed {run.seed}",
                where=f"{cells[unit].folder} and {run.folder}",
                hint="leave one out, or run one of them under a label",
            )
        cells[unit] = run
    holes = [hole for methods in groups.values() for hole in _holes(methods)]
    if holes:
        raise UserError(
            f"the table has {len(holes)} hole{'s' if len(holes) > 1 else ''}: runs that are missing or not complete",
            where="".join(f"\n    {name}" for name, _ in holes),
            hint="make them, or leave their method or unit out:" + "".join(f"\n    {c}" for _, c in holes),
        )


def _holes(methods: dict[str, dict[Unit, StoredRun]]) -> Iterator[tuple[str, str]]:
    """(what is missing, the command that makes it) for each cell."""
    units = dict.fromkeys(unit for cells in methods.values() for unit in cells)
    for name, cells in methods.items():
        for order, seed in units:
            run = cells.get((order, seed))
            state = "no run" if run is None else str(run.info.get("status") or "status unknown")
            if state == "complete":
                continue
            if failure := run and dig(run.info, "failure", "message"):
                state += f": {' '.join(str(failure).split())}"
            like = run or next(iter(cells.values()))
            where = f"{like.sequence} / {order} / {name} / {like.tuner} / seed {seed} ({state})"
            yield where, _command(like, order, seed)


def _command(like: StoredRun, order: str, seed: int | None) -> str:
    """`ril-bench run ...` for a cell of the same method, tuner and settings as the run `like`."""
    info = like.info
    words = ["ril-bench", "run", str(info.get("sequence_reference") or like.sequence)]
    words += ["--method", str(dig(info, "method", "name")), "--seed", str(seed)]
    if order != "given":
        words += ["--order", order]
    if not info.get("official"):
        words += ["--tuner", like.tuner]
    for key, value in (dig(info, "method", "options") or {}).items():
        words += ["--set", f"method.{key}={json.dumps(value)}"]
    if label := dig(info, "method", "label"):
        words += ["--label", str(label)]
    parts = (like.sequence, like.order, like.name, like.tuner, f"seed-{like.seed}")
    folder = like.folder.absolute()  # it may have been named from within the runs
    if folder.parts[-len(parts) :] == parts:
        words += ["--out", str(folder.parents[len(parts) - 1])]
    command = shlex.join(words)
    # Which of the sequence's settings were changed is in run.json, but not as the options that changed them.
    return command if info.get("official") else f"{command}  # with the settings of {like.folder}"
