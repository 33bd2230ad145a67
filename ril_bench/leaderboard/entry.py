"""The files of one entry, read on demand. Read only files that the checks of `safety` have passed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from ril_bench import registry
from ril_bench.config.validation import validated
from ril_bench.config.yaml_source import Source
from ril_bench.errors import UserError, nearest
from ril_bench.leaderboard.layout import ADAPTER, Address
from ril_bench.leaderboard.record import MetricsRecord, Record, RunRecord
from ril_bench.leaderboard.safety import read_plain_json, read_table
from ril_bench.leaderboard.shipped import Shipped
from ril_bench.sequences.calibrations import Calibration
from ril_bench.sequences.spec import Sequence
from ril_bench.storage import names

#: what removes most faults of an entry
RESUBMIT = "write the entry from the run's own folder: ril-bench submit RUN"
R = TypeVar("R", bound=Record)


class Entry:
    """The entry at an address below the folder `root` (entries/). A file that cannot be read raises UserError."""

    def __init__(self, root: Path, address: Address, shipped: Shipped | None = None):
        self.address = address
        self.shipped = shipped or Shipped()
        self.folder = root / address.path

    def __str__(self) -> str:
        return self.address.path.as_posix()

    def file(self, name: str) -> Path:
        return self.folder / name

    @cached_property
    def raw(self) -> dict[str, Any]:
        """run.json, as it is written."""
        return self._object(names.RUN)

    @cached_property
    def run(self) -> RunRecord:
        """run.json, typed."""
        return _typed(RunRecord, self.file(names.RUN), self.raw)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """metrics.json."""
        return self._object(names.METRICS)

    @cached_property
    def images(self) -> MetricsRecord:
        """metrics.json, whose part about images is typed."""
        return _typed(MetricsRecord, self.file(names.METRICS), self.metrics)

    @cached_property
    def digests(self) -> dict[str, Any]:
        """digests.json: {file: sha256}."""
        return self._object(names.DIGESTS)

    def _object(self, name: str) -> dict[str, Any]:
        found = read_plain_json(self.file(name))
        if not isinstance(found, dict):
            raise UserError(
                "not a JSON object",
                where=str(self.file(name)),
                hint="write the entry again: ril-bench submit RUN",
            )
        return found

    @cached_property
    def scores(self) -> pd.DataFrame:
        """scores.parquet."""
        return self._rows(names.SCORES)

    @cached_property
    def within(self) -> pd.DataFrame | None:
        """anytime.parquet, where there is one."""
        return self._rows(names.ANYTIME) if self.file(names.ANYTIME).exists() else None

    def _rows(self, name: str) -> pd.DataFrame:
        frame = read_table(self.file(name)).to_pandas(ignore_metadata=True)  # it could name another index
        return frame.astype({"reward": "str", "prompt_id": "str"})

    @cached_property
    def adapters(self) -> dict[int, Path]:
        """The LoRA of each step that has one."""
        files = sorted(path for path in self.folder.glob(f"{names.STEPS}/{names.ADAPTER}") if path.is_file())
        named = {path: ADAPTER.fullmatch(path.relative_to(self.folder).as_posix()) for path in files}
        return {int(match[1]): path for path, match in named.items() if match}

    # -- what the entry is compared with: never its own statements --------------------------------------------

    @cached_property
    def sequence(self) -> Sequence:
        """The official sequence that its address names, in that order and on that tuner."""
        group = self.address.group
        _shipped("sequence", group.sequence, self.folder)
        _shipped("tuner", group.tuner, self.folder)
        return self.shipped.sequence(group.sequence, group.order, group.tuner)

    @cached_property
    def calibration(self) -> Calibration:
        """The official one; UserError where there is none: such a sequence has no leaderboard."""
        sequence, group = self.sequence, self.address.group  # the first refuses names that do not ship
        found = self.shipped.calibration(group.sequence, group.order, group.tuner)
        if found is None:
            raise UserError(
                f"{sequence.name} has no calibration, so it has no leaderboard",
                where=str(self.folder),
                hint="enter a calibrated sequence: ril-bench list sequences",
            )
        return found


def _typed(cls: type[R], path: Path, data: dict[str, Any]) -> R:
    try:
        return validated(cls, Source(str(path), data))
    except UserError as error:
        error.hint = f"submit {path.name} as the run wrote it"
        raise


def _shipped(kind: str, name: str, folder: Path) -> None:
    """Raises UserError unless this installation ships the name: an entry must never lead to a file."""
    known = registry.names(kind)
    if registry.is_path(name) or name not in known:
        raise UserError(f"no {kind} is called {name!r}", where=str(folder), hint=nearest(name, known))
