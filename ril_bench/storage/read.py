"""The only reader of a run's folder: plain values and tables, None for missing ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ril_bench.config.characters import encodable
from ril_bench.errors import UserError
from ril_bench.storage import names
from ril_bench.storage.entry_note import EntryNote
from ril_bench.storage.integrity import FILES, damage_error, damage_of, damaged_files, refuse_damage
from ril_bench.storage.run_files import (
    number,
    read_json,
    read_log,
    read_matrix,
    read_sealed,
    read_standard_errors,
    read_table,
)

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
            return read_sealed(path, required=sealed)
        if sealed and self.status == "complete":
            raise damage_error(self.folder, {names.METRICS: "is missing"})
        return {}

    @cached_property
    def prompts(self) -> dict[str, str]:
        """The evaluation prompts by their ids."""
        return {str(p["prompt_id"]): str(p["prompt"]) for p in read_json(self._whole(names.PROMPTS), list)}

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
        return read_table(self._whole(names.SCORES))

    @cached_property
    def anytime_scores(self) -> pd.DataFrame | None:
        """anytime.parquet: scores between updates, with a column `update`; None if there are none."""
        return read_table(self._whole(names.ANYTIME)) if (self.folder / names.ANYTIME).is_file() else None

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
        return {step: read_table(whole[step]) for step in sorted(step for step in found if step is not None)}

    @cached_property
    def _matrix(self) -> tuple[list[str], list[int], list[list[float | None]]]:
        return read_matrix(self._whole(names.MATRIX))

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
        return read_standard_errors(self._whole(names.SCORES))

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
    return read_sealed(path)


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
