"""The only reader of a run's folder: plain values and tables, None for missing ones.

Imports pandas only for tables, and never torch: the page of a run needs neither.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow import parquet
from pyarrow.compute import VarianceOptions

from ril_bench.config.characters import encodable
from ril_bench.errors import UserError
from ril_bench.storage import names
from ril_bench.storage.entry_note import EntryNote
from ril_bench.storage.integrity import FILES, damage_error, damage_of, damaged_files, refuse_damage
from ril_bench.storage.seals import unchecked_line, unsealed

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class StoredRun:
    """The files of a run's folder. Each file is read once, when it is used first.

    Only run.json must exist. A missing file gives an empty value, but `info` and `scores` raise UserError.
    Every property raises UserError for a damaged file.

    Args:
        folder: the folder of the run.
        entry: what a leaderboard states about the run; None for a run that is not an entry.
    """

    folder: Path
    entry: EntryNote | None = None

    @cached_property
    def info(self) -> dict[str, Any]:
        """run.json. Raises UserError if it is missing, or has another schema version."""
        info = read_info(self.folder)
        if info.get("schema_version") != SCHEMA_VERSION:
            raise UserError(
                f"{names.RUN} has schema_version {info.get('schema_version')!r}, not {SCHEMA_VERSION}",
                where=str(self.folder / names.RUN),
                hint="use the version of RIL-Bench that wrote the run (run.json: versions)",
            )
        return info

    @property
    def status(self) -> str:
        """ "complete", "failed", "unfinished" or "status unknown".

        An unfinished run is at work, or was stopped: a process that is killed records nothing.
        """
        status = str(self.info.get("status") or "status unknown")
        return "unfinished" if status == "running" else status

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """metrics.json; a metric that is undefined is None."""
        path, sealed = self.folder / names.METRICS, FILES in self.info
        if path.is_file():
            return _sealed(path, required=sealed)
        if sealed and self.status == "complete":
            raise damage_error(self.folder, {names.METRICS: "is missing"})
        return {}

    @cached_property
    def prompts(self) -> dict[str, str]:
        """The evaluation prompts by their ids."""
        return {str(p["prompt_id"]): str(p["prompt"]) for p in _json(self._whole(names.PROMPTS), list)}

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """log.jsonl: one line for each update."""
        return read_log(self.folder, checked=FILES in self.info)

    def _whole(self, name: str) -> Path:
        """The path of a file, which was compared with its digest. Raises UserError where it is damaged.

        Without run.json, as in a folder of images that are generated again, no digest is known.
        """
        if (self.folder / names.RUN).is_file() and damage_of(self.folder, self.info, name):
            info = read_info(self.folder)  # a run that is at work may have written it since
            if state := damage_of(self.folder, info, name):
                raise damage_error(self.folder, {name: state})
        return self.folder / name

    # -- scores ----------------------------------------------------------------------------------------------

    @cached_property
    def scores(self) -> pd.DataFrame:
        """scores.parquet: one row for each step, reward, prompt and sample.

        Raises UserError if the run has no scores yet.
        """
        path = self.folder / names.SCORES
        if not path.is_file():
            raise UserError(
                "this run has no scores yet", where=str(self.folder), hint="run it: ril-bench run ..."
            )
        return _table(self._whole(names.SCORES))

    @cached_property
    def anytime_scores(self) -> pd.DataFrame | None:
        """anytime.parquet: scores between updates, with a column `update`; None if there are none."""
        return _table(self._whole(names.ANYTIME)) if (self.folder / names.ANYTIME).is_file() else None

    @cached_property
    def drift(self) -> dict[int, pd.DataFrame]:
        """drift.parquet of each step that has one: a row for each rollout, with its drift in nats."""
        return self._tables_of_steps(names.DRIFTS)

    @cached_property
    def scales(self) -> dict[int, pd.DataFrame]:
        """scales.parquet of each step that has one: scores, with a column `scale`."""
        return self._tables_of_steps(names.SCALES_OF_STEPS)

    def _tables_of_steps(self, pattern: str) -> dict[int, pd.DataFrame]:
        found = {names.step_number(path.parent.name): path for path in self.folder.glob(pattern)}
        whole = {step: self._whole(path.relative_to(self.folder).as_posix()) for step, path in found.items()}
        return {step: _table(whole[step]) for step in sorted(step for step in found if step is not None)}

    @cached_property
    def _matrix(self) -> tuple[list[str], list[int], list[list[float | None]]]:
        return _matrix(self._whole(names.MATRIX))

    @property
    def columns(self) -> list[str]:
        """The columns of the matrix: rewards, then probes."""
        return self._matrix[0]

    @property
    def steps(self) -> list[int]:
        """The rows of the matrix."""
        return self._matrix[1]

    @property
    def matrix(self) -> list[list[float | None]]:
        """`matrix[i][j]` is the mean reward `columns[j]` at step `steps[i]`."""
        return self._matrix[2]

    @property
    def reward_matrix(self) -> pd.DataFrame:
        """The reward matrix R as a DataFrame: rows are steps, columns are rewards, then probes."""
        import pandas as pd

        index = pd.Index(self.steps, name="step", dtype=int)
        return pd.DataFrame(self.matrix, index=index, columns=self.columns, dtype=float)

    @cached_property
    def error(self) -> dict[tuple[int, str], float]:
        """The standard error over prompts of (step, reward)."""
        return _standard_errors(self._whole(names.SCORES))

    # -- images ----------------------------------------------------------------------------------------------

    @property
    def sheet(self) -> Path | None:
        """The contact sheet, which an entry has instead of images."""
        path = self.folder / names.CONTACT_SHEET
        return path if self.entry and path.is_file() else None

    @cached_property
    def images(self) -> dict[int, dict[tuple[str, int], Path]]:
        """`images[step][prompt_id, sample]` is the path of an image."""
        found = {names.step_number(path.name): path for path in sorted(self.folder.glob(names.STEPS))}
        return {
            step: image_files(path / names.IMAGES)
            for step, path in found.items()
            if step is not None and (path / names.IMAGES).is_dir()
        }

    # -- names -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the method, with its label if it has one, and its revision if several exist."""
        method, label = dig(self.info, "method", "name"), dig(self.info, "method", "label")
        revision = f" {self.entry.revision}" if self.entry and self.entry.several else ""
        return plain(f"{method or 'unnamed method'}{f'@{label}' if label else ''}{revision}")

    @property
    def sequence(self) -> str:
        return plain(dig(self.info, "sequence", "name") or "unnamed sequence")

    @property
    def tuner(self) -> str:
        return plain(dig(self.info, "tuner", "name") or "unnamed tuner")

    @property
    def order(self) -> str:
        return plain(self.info.get("order") or "given")

    @property
    def seed(self) -> int | None:
        value = number(self.info.get("seed"))
        return None if value is None else int(value)

    @property
    def rewards(self) -> list[str]:
        """The trained rewards in task order; task i is `rewards[i - 1]`."""
        tasks = dig(self.info, "sequence", "tasks") or []
        return [plain(name) for name in self.metrics.get("rewards") or [task.get("reward") for task in tasks]]

    def continual(self, scale: str | None, key: str) -> Any:
        return dig(self.metrics, "continual", scale, key)

    def per_step(self, group: str, key: str) -> list[tuple[int, float | None]]:
        """(step, value) of one metric in `fidelity` or `structure` of metrics.json, by step."""
        rows = dig(self.metrics, group, "steps") or []
        return sorted((int(row["step"]), number(row.get(key))) for row in rows)

    def step_name(self, step: int) -> str:
        if step == 0:
            return "pretrained"
        return f"after {self.rewards[step - 1]}" if step <= len(self.rewards) else f"step {step}"


def read_run(folder: Path) -> StoredRun:
    """The run in a folder. Reads run.json, and raises UserError if it is missing or damaged."""
    run = StoredRun(Path(folder))
    _ = run.info
    return run


def read_whole_run(folder: Path) -> StoredRun:
    """The run in a folder, after a comparison of all files with their digests.

    Raises UserError where a file of a finished step is damaged.
    """
    run = read_run(folder)
    if damaged_files(run.folder, run.info):
        run = read_run(folder)  # a run that is at work may have finished a step since
        refuse_damage(run.folder, run.info)
    return run


def read_info(folder: Path) -> dict[str, Any]:
    """run.json of a folder, of any version. Raises UserError if it is missing or damaged."""
    path = folder / names.RUN
    if not path.is_file():
        raise UserError(
            f"not a run folder: it has no {names.RUN}", where=str(folder), hint="name the folder of a run"
        )
    return _sealed(path)


def read_log(folder: Path, *, checked: bool = False) -> list[dict[str, Any]]:
    """The lines of log.jsonl, in order; empty if there is no log.

    Skips text after the last newline: a killed run did not finish that line, and its resume writes it again.

    Args:
        checked: whether each line must have a checksum, as the lines of runs with digests do.

    Raises UserError for another line that is not JSON, or is damaged.
    """
    path = folder / names.LOG
    try:
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        found = [unchecked_line(line) for line in lines[:-1] if line]
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error
    if checked and not all(has_check for _, has_check in found):
        raise _unreadable(path, "a line has lost its checksum")
    return [value for value, _ in found]


def image_files(folder: Path) -> dict[tuple[str, int], Path]:
    """The images of a folder, in the order of their names: {(prompt_id, sample): path}.

    Lists the folder, so that a prompt id from an untrusted file never becomes a part of a path. Hidden files, such as
    those that macOS adds, are no images.
    """
    files = [path for path in sorted(folder.glob("*.png")) if not path.name.startswith(".")]
    found = {names.image_key(path.stem): path for path in files}
    return {key: path for key, path in found.items() if key is not None}


def common_scale(runs: Sequence[StoredRun]) -> str | None:
    """The scale on which rewards are averaged and runs are compared.

    "normalised" if every run has it, else "z", else None. Raw rewards have different units and are never
    averaged.
    """
    scales = ("normalised", "z")
    return next((name for name in scales if all(dig(run.metrics, "continual", name) for run in runs)), None)


def dig(tree: Any, *keys: Any) -> Any:
    """tree[key][key]..., or None as soon as one of them is missing."""
    for key in keys:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(key)
    return tree


def plain(value: object) -> str:
    """A name as text that tables and files can hold."""
    return encodable(str(value))


def number(value: Any) -> float | None:
    """A finite number as a float; None for a bool, a text, NaN or infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _sealed(path: Path, *, required: bool | None = None) -> dict[str, Any]:
    """The object in a JSON file, without its seal.

    Args:
        required: whether the file must have a seal; None for run.json, which states it.
    """
    try:
        value, sealed = unsealed(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if not sealed and (FILES in value if required is None else required):
        raise _unreadable(path, "it has lost its digest")
    return value


def _json(path: Path, kind: type) -> Any:
    if not path.is_file():
        return kind()
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(value, kind):
        raise _unreadable(path, f"expected a JSON {kind.__name__}")
    return value


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # Arrow's errors are subclasses of these
        raise _unreadable(path, error) from error


def _matrix(path: Path) -> tuple[list[str], list[int], list[list[float | None]]]:
    # Uses csv, not pandas: a sequence may train a reward twice, and pandas would rename the second column.
    if not path.is_file():
        return [], [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        steps = [int(row[0]) for row in rows]
        matrix = [[number(float(cell)) if cell else None for cell in row[1:]] for row in rows]
    except ValueError as error:
        raise _unreadable(path, error) from error
    if any(len(row) != len(header) - 1 for row in matrix):
        raise _unreadable(path, "rows of different lengths")
    return header[1:], steps, matrix


def _standard_errors(path: Path) -> dict[tuple[int, str], float]:
    if not path.is_file():
        return {}
    # Uses Arrow, not pandas: with pandas this group-by would take half of the time of a page.
    try:
        scores = parquet.read_table(path, columns=["step", "reward", "prompt_id", "score"])
        prompts = scores.group_by(["step", "reward", "prompt_id"]).aggregate([("score", "mean")])
        spread = prompts.group_by(["step", "reward"]).aggregate(
            [("score_mean", "stddev", VarianceOptions(ddof=1)), ("score_mean", "count")]
        )
    except (OSError, ValueError, KeyError) as error:  # Arrow's own errors are ValueErrors and KeyErrors
        raise _unreadable(path, error) from error
    columns = ("step", "reward", "score_mean_stddev", "score_mean_count")
    rows = zip(*(spread.column(name).to_pylist() for name in columns), strict=True)
    return {
        (int(step), str(reward)): deviation / math.sqrt(n)
        for step, reward, deviation, n in rows
        if number(deviation) is not None
    }


def _unreadable(path: Path, why: object) -> UserError:
    hints = {
        names.METRICS: f"ril-bench score {path.parent}",
        names.RUN: "restore this file, or delete the folder and run it again",
    }
    return UserError(
        f"{path.name} cannot be read: {why}",
        where=str(path),
        hint=hints.get(path.name, "delete the folder, or compute this again: ril-bench run ... --repair"),
    )
