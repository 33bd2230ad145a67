"""The columns of a table of runs: how each metric is read from the files of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from ril_bench.reporting import glossary
from ril_bench.reporting.trained_tasks import updates_of
from ril_bench.scoring.collapse import collapsed, shares
from ril_bench.storage import names
from ril_bench.storage.read import StoredRun, dig
from ril_bench.storage.run_files import number

Reader = Callable[[StoredRun, str | None], Any]  # takes a run and the scale that its rewards are on
Origin = Literal["scores", "updates", "images", "run"]
#: behind the name of a metric that is in standard deviations of step 0's scores over prompts
Z = " (z)"


@dataclass(frozen=True)
class Column:
    """A metric of the table, and how a run gives its value and its floor.

    origin: what is needed to compute the value again: the scores, those between updates, the images, or the run itself
        (time, counters).
    """

    name: str
    read: Reader
    floor: Reader | None = None
    origin: Origin = "scores"

    def known_of(self, run: StoredRun) -> bool:
        """Whether a run's value is known: an entry of a leaderboard only states what nobody computed again."""
        return run.entry is None or (run.entry.verified and self.origin in ("scores", "images"))

    @property
    def better(self) -> int:
        """+1 where higher is better, -1 where lower is."""
        return glossary.better(self.name.removesuffix(Z))

    @property
    def in_z(self) -> Column:
        """The same metric in z, whatever scale the run has."""
        read, floor = self.read, self.floor
        return Column(
            f"{self.name}{Z}",
            lambda run, scale: read(run, "z"),
            (lambda run, scale: floor(run, "z")) if floor else None,
            self.origin,
        )


def _continual(name: str, run: StoredRun, scale: str | None) -> Any:
    return run.continual(scale, name)


def _anytime(name: str, run: StoredRun, scale: str | None) -> Any:
    return dig(run.metrics, "anytime", scale, name)


def _last(group: str, key: str, run: StoredRun, scale: str | None) -> Any:
    points = run.per_step(group, key)
    return points[-1][1] if points else None


def _at(*keys: str) -> Reader:
    return lambda run, scale: dig(run.metrics, *keys)


def _megabytes(run: StoredRun, scale: str | None) -> Any:
    carried = number(dig(run.metrics, "resources", "carried_bytes"))
    return None if carried is None else carried / 1e6


def _after_step_0(*keys: str) -> Reader:
    """A sum over the steps after step 0: all runs share the evaluation of the pretrained model."""

    def read(run: StoredRun, scale: str | None) -> Any:
        steps = [row for row in run.info.get("steps") or [] if row.get("step")]
        addends = [number(row.get(key)) for row in steps for key in keys]
        return None if None in addends or not addends else sum(filter(None, addends))

    return read


def _collapsed(run: StoredRun, scale: str | None) -> Any:
    """The number of collapsed steps; None for a run that has nothing to tell it by."""
    return len(collapsed(run)) if shares(run) else None


def _updates(run: StoredRun, scale: str | None) -> Any:
    """The updates of all steps, consolidations included: as they were counted, else as the budgets state them.

    None for an oracle that did not count them: its steps may have the updates of several tasks.
    """
    steps = [row for row in run.info.get("steps") or [] if row.get("step")]
    tasks = dig(run.info, "sequence", "tasks") or []
    budgets = [] if dig(run.info, "method", "oracle") else [dig(task, "budget", "updates") for task in tasks]
    known = dict(enumerate(budgets, 1))
    spent = [updates_of(row) if "updates" in row else number(known.get(row["step"])) for row in steps]
    return None if None in spent or not spent else sum(filter(None, spent))


def _structure(name: str, key: str) -> Column:
    floor = _at("structure", "floor", key)
    return Column(f"{name} to step 0", partial(_last, "structure", f"{key}_to_0"), floor, "images")


COLUMNS = (
    Column("FORGET", partial(_continual, "FORGET"), partial(_continual, "FORGET_floor")),
    *(
        Column(name, partial(_continual, name))
        for name in ("BWT", "LEARN", "FINAL", "WORST", "AVG-INC", "FWT")
    ),
    *(Column(name, partial(_anytime, name), None, "updates") for name in ("AAA", "MINPERF", "WC-ACC")),
    _structure("SSIM", "ssim"),
    _structure("MS-SSIM", "ms_ssim"),
    _structure("LPIPS", "lpips"),
    _structure("edges", "edges"),
    _structure("cosine", "cosine"),
    Column("KID", partial(_last, "fidelity", "kid"), _at("fidelity", "kid_floor"), "images"),
    Column("FID", partial(_last, "fidelity", "fid"), _at("fidelity", "floor"), "images"),
    Column("Vendi", partial(_last, "diversity", "vendi"), None, "images"),
    Column("drift", partial(_last, "drift", names.TO_0), None, "images"),
    Column("collapsed steps", _collapsed, None, "images"),
    Column("updates spent", _updates, None, "run"),
    Column("carried MB", _megabytes, None, "run"),
    Column("denoiser evaluations", _after_step_0("denoiser_forwards"), None, "run"),
    Column("seconds", _after_step_0("train_seconds", "evaluation_seconds"), None, "run"),
)


def columns_of(z: bool) -> tuple[Column, ...]:
    """The columns of a table; with `z`, each metric of rewards is there in z too."""
    return tuple(
        each
        for column in COLUMNS
        for each in ([column, column.in_z] if z and column.origin in ("scores", "updates") else [column])
    )


#: what a table states of each reward by itself: "gain brightness", "end brightness"
GAIN, END = "gain ", "end "


def of_each_reward(run: StoredRun, scale: str | None) -> dict[str, Any]:
    """What each reward gained while it was trained (N[j][j] - N[j-1][j]), and where it ended (N[T][j])."""
    effect, matrix = run.continual(scale, "effect") or [], run.continual(scale, "N") or []
    gains = {f"{GAIN}{name}": effect[j][j] for j, name in enumerate(run.rewards) if j < len(effect)}
    return gains | {f"{END}{name}": matrix[-1][j] for j, name in enumerate(run.rewards) if matrix}


def columns_of_rewards(names: Iterable[str]) -> tuple[Column, ...]:
    """The columns of single rewards among names of columns; their values come from `of_each_reward`."""
    return tuple(Column(name, lambda run, scale: None) for name in names if str(name).startswith((GAIN, END)))
