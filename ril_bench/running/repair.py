"""Prepares the folder of a run with damaged files, so that the run computes them again.

Images and scores follow from the adapter of their step. An adapter does not follow from the one before it, because
the state of the method is not kept. So a damaged adapter costs the training of all tasks. Draws are keyed, so the
same machine gives the same bytes.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from ril_bench.errors import UserError
from ril_bench.running.checkpoints import LATEST, START
from ril_bench.storage import names
from ril_bench.storage.integrity import FILES, damage_of, damaged_files
from ril_bench.storage.run_folder import RunFolder

LOST_LINES = "log_lines_lost"  # a key of run.json


@dataclass(frozen=True)
class Repair:
    """What is damaged, and what to do about it.

    Attributes:
        damaged: the files that cannot be used.
        evaluate: the steps whose images and scores are computed again.
        train: whether all tasks are trained again.
    """

    damaged: tuple[str, ...] = ()
    evaluate: tuple[int, ...] = ()
    train: bool = False


def prepare(folder: RunFolder) -> Repair:
    """Removes what cannot be used from a run's folder, and returns what has to be computed.

    Raises UserError where run.json itself cannot be used.
    """
    info = folder.read_run()
    done = len(info["steps"])
    damaged = list(damaged_files(folder.path, info))
    damaged += _without_damaged_checkpoints(folder)
    if _repair_log(folder) and names.LOG not in damaged:
        damaged.append(names.LOG)
    if not damaged:
        return Repair()
    unfinished = 1 < done <= len(info["sequence"]["tasks"])
    left = [name for name in (START, LATEST) if folder.checkpoint(name).exists()]
    train = any(map(_is_of_training, damaged)) or (unfinished and not left)
    steps = {names.step_number(name.partition("/")[0]) for name in damaged if "/" in name}
    again = sorted(i for i in steps if i is not None and (i == 0 or not train))
    if train:
        _forget_training(folder)
    folder.update_run(status="running")
    return Repair(tuple(damaged), tuple(i for i in again if i < done), train)


def _is_of_training(name: str) -> bool:
    """Whether a file can only come from a training: an adapter, or scores between two updates."""
    last = name.rpartition("/")[2]
    return last == names.ADAPTER or fnmatch.fnmatch(last, names.SCORES_AFTER)


def drop_scores_after(folder: RunFolder, step: int, update: int) -> None:
    """Deletes scores between updates that lie behind an update of a step, of a training that will not be continued.

    Another training of the step may end earlier, and write none in their places.
    """
    left = set()
    for path in folder.path.glob(f"{names.STEPS}/{names.SCORES_AFTER}"):
        at = names.step_number(path.parent.name), names.update_number(path.name)
        if None not in at and at > (step, update):
            left.add(path.relative_to(folder.path).as_posix())
    if left:
        files = folder.read_run().get(FILES, {})
        folder.update_run(**{FILES: {name: digest for name, digest in files.items() if name not in left}})
    for name in left:
        (folder.path / name).unlink()


def _forget_training(folder: RunFolder) -> None:
    """Leaves only step 0 in run.json. The training writes the other files again."""
    drop_scores_after(folder, 0, 0)
    info = folder.read_run()
    kept = {
        name: digest for name, digest in info.get(FILES, {}).items() if name.startswith(f"{names.step(0)}/")
    }
    folder.drop_checkpoints()
    folder.write_text(names.LOG, "")
    folder.update_run(**{"steps": info["steps"][:1], FILES: kept, LOST_LINES: None})


def _without_damaged_checkpoints(folder: RunFolder) -> Iterable[str]:
    for name in (START, LATEST):
        try:
            folder.load_checkpoint(name)
        except UserError:
            folder.drop_checkpoint(name)
            yield names.checkpoint(name)


def _repair_log(folder: RunFolder) -> bool:
    """Keeps the lines of the log that are whole; the numbers in the others are lost. Returns whether any were."""
    info = folder.read_run()
    changed = damage_of(folder.path, info, names.LOG) is not None
    lost = folder.drop_damaged_log_lines()
    if not (changed or lost):
        return False
    if changed:  # lines may be missing that nobody can count
        lost = max(lost, 1)
        folder.record({names.LOG: folder.rewrite_log()})
    folder.update_run(**{LOST_LINES: (info.get(LOST_LINES) or 0) + lost})
    return True


def refuse_log_gap(folder: RunFolder, task: int, update: int, *, repair: bool) -> None:
    """Raises UserError where the log lacks lines before an update of a task.

    Args:
        repair: go on without these lines.
    """
    lines: dict[int, list[int]] = {}
    for line in folder.read_log():
        lines.setdefault(line["task"], []).append(line["update"])
    whole = all(updates == list(range(len(updates))) for updates in lines.values())
    if (whole and len(lines.get(task, ())) == update) or folder.read_run().get(LOST_LINES):
        return
    if repair:
        folder.update_run(**{LOST_LINES: 1})
        return
    raise UserError(
        f"{names.LOG} lacks lines of earlier updates",
        where=str(folder.path / names.LOG),
        hint="restore the file, or add --repair to go on without these lines",
    )
