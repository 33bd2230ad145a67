"""Holes of a table: a run that is missing or not complete. A table with holes is refused, or its holes are dropped."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ril_bench.config.settings import parse_settings
from ril_bench.errors import UserError
from ril_bench.reporting.place import Place
from ril_bench.reporting.same_settings import refuse_mixed, sequence_content
from ril_bench.reporting.settings import flat
from ril_bench.running.plan import GIVEN, ordered
from ril_bench.sequences.sequence_file import read_sequence
from ril_bench.sequences.spec import Sequence as SequenceSpec
from ril_bench.storage.read import StoredRun, dig

Methods = dict[str, dict[int | None, StoredRun]]  # by name and seed


def refuse_holes(runs: Sequence[StoredRun]) -> None:
    """Raises UserError unless, within a place, every method has a complete run of every seed.

    Averages over different seeds would compare seeds, not methods. The error names every hole, and the command that
    computes it. Raises UserError, too, where the runs of a method have other settings.
    """
    holes = [hole for methods in _grouped(runs).values() for hole in _holes(methods)]
    if holes:
        commands = "".join(f"\n    {command}" for _, command in holes)
        raise UserError(
            f"the table has {len(holes)} hole{'s' if len(holes) > 1 else ''}: runs that are missing or not complete",
            where="".join(f"\n    {name}" for name, _ in holes),
            hint=f"these commands compute them, and report --drop-holes leaves them out:{commands}",
        )


def drop_holes(runs: Sequence[StoredRun]) -> tuple[list[StoredRun], list[str]]:
    """The runs without holes, and one sentence for each thing that is left out.

    Within a place, the seeds that all methods have complete are kept. Where there is no such seed, the method
    with the fewest complete runs is left out, until there is one.
    """
    kept: list[StoredRun] = []
    left_out: list[str] = []
    for place, methods in _grouped(runs).items():
        complete = {
            name: {seed: run for seed, run in cells.items() if run.status == "complete"}
            for name, cells in methods.items()
        }
        while complete and not (seeds := _shared(complete)):
            fewest = min(complete, key=lambda name: len(complete[name]))
            del complete[fewest]
            left_out.append(
                f"{fewest} on {place.title}: it has no complete run that the other methods have too"
            )
        for name in complete:
            kept += [run for seed, run in methods[name].items() if seed in seeds]
            if dropped := [str(seed) for seed in methods[name] if seed not in seeds]:
                left_out.append(
                    f"{name} on {place.title}: runs that some method lacks, or that are not complete "
                    f"(seeds {', '.join(dropped)})"
                )
    return kept, left_out


def _shared(methods: Methods) -> set[int | None]:
    """The seeds that all methods have."""
    return set.intersection(*(set(cells) for cells in methods.values()))


def _grouped(runs: Sequence[StoredRun]) -> dict[Place, Methods]:
    """Runs by place, method, and seed.

    Raises UserError for no run, for two of one seed, and for two of one method with other settings.
    """
    if not runs:
        raise UserError("there is no run to show", hint="name folders that hold runs")
    groups: dict[Place, Methods] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        cells = groups[Place.of(run)][run.name]
        if run.seed in cells:
            raise UserError(
                f"two runs of {run.name} on {run.sequence}, order {run.order}, seed {run.seed}",
                where=f"{cells[run.seed].folder} and {run.folder}",
                hint="leave one out, or run one of them under a label",
            )
        cells[run.seed] = run
    for methods in groups.values():
        for cells in methods.values():
            refuse_mixed(cells.values())
    return groups


def _holes(methods: Methods) -> Iterator[tuple[str, str]]:
    """(what is missing, the command that computes it) for each hole."""
    seeds = dict.fromkeys(seed for cells in methods.values() for seed in cells)
    for name, cells in methods.items():
        for seed in seeds:
            run = cells.get(seed)
            state = "no run" if run is None else run.status
            if state == "complete":
                continue
            if failure := run and dig(run.info, "failure", "message"):
                state += f": {str(failure).partition(chr(10))[0].strip()}"
            like = run or next(iter(cells.values()))
            where = f"{like.sequence} / {like.order} / {name} / {like.tuner} / seed {seed} ({state})"
            yield where, _command(like, seed)


def _command(like: StoredRun, seed: int | None) -> str:
    """`ril-bench run ...` for a seed of the same method, order, tuner and settings as the run `like`."""
    info = like.info
    method = info.get("method_reference") or dig(info, "method", "name")
    words = ["ril-bench", "run", str(info.get("sequence_reference") or like.sequence)]
    words += ["--method", str(method), "--seed", str(seed)]
    if like.order != GIVEN:
        words += ["--order", like.order]
    words += ["--tuner", _tuner(info) or like.tuner]
    changed = _changed_settings(info)
    for key, value in (changed or {}).items():
        words += ["--set", f"{key}={value}"]
    for key, value in (dig(info, "method", "options") or {}).items():
        words += ["--set", f"method.{key}={json.dumps(value)}"]
    if label := dig(info, "method", "label"):
        words += ["--label", str(label)]
    place = (like.sequence, like.order, like.name, like.tuner, f"seed-{like.seed}")
    folder = like.folder.absolute()  # it may have been named from within the runs
    if folder.parts[-len(place) :] == place:
        words += ["--out", str(folder.parents[len(place) - 1])]
    command = shlex.join(words)
    return command if changed is not None else f"{command}  # with the settings of {like.folder}"


def _tuner(info: dict[str, Any]) -> str | None:
    """The tuner as `--tuner` takes it: a name, or the path of a file. Runs are filed under a path's last part alone."""
    return dig(info, "sequence", "tuner", "name") or dig(info, "tuner", "name")


def _changed_settings(info: dict[str, Any]) -> dict[str, str] | None:
    """The settings in which a run differs from its sequence's file; None where they cannot be known."""
    if info.get("official"):
        return {}
    (ran, _), tuner = sequence_content(info), _tuner(info)
    order = str(info.get("order") or GIVEN)

    def resolved(settings: dict[str, str]) -> SequenceSpec:
        return file.resolve(
            parse_settings([f"{key}={value}" for key, value in settings.items()]), tuner=tuner
        )

    try:
        file = read_sequence(str(info.get("sequence_reference")))
        changed = _changes(resolved({}).model_dump(mode="json"), ran)
        inheriting = resolved(changed)
        for task, own in zip(ordered(inheriting, order)[1].tasks, ran.get("tasks") or [], strict=False):
            number = inheriting.tasks.index(task) + 1  # settings count tasks as the file does
            found = _changes(task.model_dump(mode="json"), own)
            changed |= {f"tasks.{number}.{key}": value for key, value in found.items()}
        again = ordered(resolved(changed), order)[1].model_dump(mode="json")
    except UserError:  # the file is not here: another machine's, or deleted
        return None
    if again != ran:  # a setting was taken away, which no command does, or the file has changed
        return None
    return changed


def _changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    """The settings of `after` that `before` has not, without those of its tasks."""
    old, new = (
        dict(flat({k: v for k, v in one.items() if k != "tasks"}, json.dumps)) for one in (before, after)
    )
    return {key: value for key, value in new.items() if old.get(key) != value}
