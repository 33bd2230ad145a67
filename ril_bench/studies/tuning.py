"""Fair tuning: chooses how strongly a method protects, with the first two tasks only.

This module follows the framework of De Lange et al. 2021 (arXiv 1909.08383, algorithm 1; FACIL has code for
it). It measures what naive tuning learns. Then it finds the strongest protection that keeps a stated part of
it.

    floor_i = d_i R_naive[i][i] - (1 - keep) d_i (R_naive[i][i] - R_naive[i-1][i])        i = 1, 2
    a value keeps  <=>  d_i R[i][i] >= floor_i  for both i

Three choices differ from those of the paper [ours]. First, the paper keeps a multiple of the accuracy;
rewards can be negative, so this module keeps a part of the gain. Second, the paper weakens the protection by
a factor until it reaches the floor; this module bisects a list of candidates, which needs fewer runs. Both
assume that more protection never learns more. Third, a method may learn less than naive at any strength, for
example a new adapter over frozen adapters. Then the floors come from the weakest candidate instead of naive,
and the study reports this.

The study never uses later tasks, the prompts of the evaluation, or the seeds of reported runs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ril_bench import registry
from ril_bench.config.settings import Settings, parse_settings, split_settings
from ril_bench.data.prompts import load_prompts
from ril_bench.errors import NumericalError, UserError
from ril_bench.machine.compute import PLAIN, Compute
from ril_bench.machine.packages import versions
from ril_bench.metrics.arrays import Array
from ril_bench.running import provenance
from ril_bench.running.plan import RunPlan, plan_run
from ril_bench.running.progress import Reporter
from ril_bench.sequences.sequence_file import read_sequence
from ril_bench.sequences.spec import Sequence as SequenceSpec
from ril_bench.storage.files import read_json, to_json, write_files
from ril_bench.storage.read import StoredRun
from ril_bench.studies.grid.grid import run_all
from ril_bench.studies.output_files import output_file

Matrix = tuple[tuple[float, ...], ...]  # as JSON holds it
FIRST_SEED = 2001  # not a seed of submissions or of calibrations
STRENGTHS = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-6, 9))  # .001 to 10 000, in half decades


@dataclass(frozen=True)
class Trial:
    """One value of the option and its result.

    Attributes:
        R: the reward matrix of the first two tasks, averaged over seeds, in the rewards' units; rows are
            steps 0..2. None where the training did not stay finite.
        keeps: whether R reaches the floors.
    """

    value: float
    R: Matrix | None
    keeps: bool


@dataclass(frozen=True)
class Study:
    """The result of `tune`.

    Attributes:
        file: the file that has the trials.
        chosen: the strongest value that reaches the floors; None where no value does.
        at_the_end: whether `chosen` is the strongest candidate. Stronger values may reach the floors too.
        reference: the runs from which the floors come: "naive", or "OPTION VALUE".
    """

    file: Path
    option: str
    chosen: float | None
    at_the_end: bool
    reference: str
    floors: tuple[float, ...]
    rewards: tuple[str, ...]
    naive: Matrix
    trials: tuple[Trial, ...]


def learned(R: Array) -> Array:
    """R[i][i], i = 1, 2: each reward directly after its own task; (2,).

    R has rows 0..2 and two columns.
    """
    return np.diagonal(R[1:])


def gains(R: Array, directions: Array) -> Array:
    """d_i (R[i][i] - R[i-1][i]), i = 1, 2: the gain of each task in its own reward; (2,)."""
    return directions * (learned(R) - np.diagonal(R))


def floors(R: Array, directions: Array, keep: float) -> Array:
    """The lowest score on each task that keeps a part of the gain of R; (2,).

    Scores are signed: higher is better.
    """
    return directions * learned(R) - (1 - keep) * gains(R, directions)


def keeps(R: Array | None, floors: Array, directions: Array) -> bool:
    """Whether R reaches both floors. None, for a training that did not stay finite, does not."""
    return R is not None and bool((directions * learned(R) >= floors).all())


def tune(
    method: str,
    sequence: str,
    *,
    keep: float = 0.8,
    option: str = "strength",
    values: Sequence[float] = STRENGTHS,
    prompts: str | None = None,
    tuner: str | None = None,
    settings: Settings | Iterable[str] = (),
    seeds: int = 2,
    out: Path,
    to: Path | None = None,
    in_place: bool = False,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    compute: Compute | None = None,
    reporter: Reporter | None = None,
) -> Study:
    """Chooses the strength of a method for a sequence and tuner; writes METHOD.tuning.json.

    The file has all trials. Runs are kept in `out`; complete runs are not repeated. Reports leave these runs
    out, because they are not results.

    Args:
        keep: the part of naive's gain that must be kept on each of the two tasks.
        values: candidates, from the weakest protection to the strongest.
        prompts: the set to evaluate on; None for the sequence's training prompts, which are never reported.
        settings: fixed changes: {"method.space": "noise"}, or texts such as "method.space=noise".
        to: the file to write; None for a file beside the method's file, or in the current folder for a method
            that ships.
        in_place: replace the file that ships with the method; for maintainers.
        jobs: runs at the same time; None for as many as the cores allow with `threads` threads each.
        threads: the number of threads of each run.
        compute: number formats and memory savers; None for float32.

    Raises:
        UserError: before anything is computed: the method has no such option, the sequence has only one task,
            the evaluation of the sequence reports the prompts, or the file cannot be written. After the first
            runs: naive tuning does not raise a reward.
        RilError: the first failure of a run, after the other runs of its value have ended. A training that does not
            stay finite is none: its value does not reach the floors.
    """
    reporter = reporter or Reporter()
    name = f"{registry.short_name(method)}.tuning.json"
    file = output_file("method", method, name, to=to, in_place=in_place)
    candidates = _Candidates.of(method, sequence, option, prompts, tuner, parse_settings(settings), seeds)
    directions, names = candidates.directions, candidates.rewards

    def measured(title: str, plans: list[RunPlan]) -> Array:
        """R over rows step 0..2 and the two rewards, averaged over the plans' seeds; (3, 2)."""
        run_all(
            plans,
            out,
            jobs=jobs,
            threads=threads,
            device=device,
            compute=compute,
            title=title,
            reporter=reporter,
        )
        return np.asarray(np.mean([_matrix(plan, out) for plan in plans], axis=0))

    R_naive = measured(f"naive on {' and '.join(names)}", candidates.naive())
    gained = gains(R_naive, directions)
    if (gained <= 0).any():
        lost = ", ".join(name for name, gain in zip(names, gained, strict=True) if gain <= 0)
        raise UserError(
            f"naive tuning does not raise {lost}: there is nothing to keep",
            where=sequence,
            hint="give the sequence a larger budget or learning rate",
        )
    found: dict[float, Array | None] = {}

    def matrix_at(value: float) -> Array | None:
        if value not in found:
            try:
                found[value] = measured(f"{option} {value:g}", candidates.plans(value))
            except NumericalError:  # a value that breaks the training does not reach the floors
                found[value] = None
        return found[value]

    def count_reaching(floor: Array) -> int:
        """The number of values that reach the floors, counted from the weakest."""
        return bisect_left(values, True, key=lambda value: not keeps(matrix_at(value), floor, directions))

    reference, floor = "naive", floors(R_naive, directions, keep)
    count = count_reaching(floor)
    weakest = matrix_at(values[0]) if not count else None
    if weakest is not None:
        reporter.say(f"no {option} reaches the floors of naive: they now come from {option} {values[0]:g}")
        reference, floor = f"{option} {values[0]:g}", floors(weakest, directions, keep)
        count = count_reaching(floor)
    study = Study(
        file=file,
        option=option,
        chosen=values[count - 1] if count else None,
        at_the_end=count == len(values),
        reference=reference,
        floors=tuple(floor.tolist()),
        rewards=names,
        naive=_plain(R_naive),
        trials=tuple(
            Trial(value, None if R is None else _plain(R), keeps(R, floor, directions))
            for value, R in sorted(found.items(), key=lambda item: values.index(item[0]))
        ),
    )
    _write(study, candidates, keep, {"device": device, "compute": (compute or PLAIN).numerics})
    return study


@dataclass(frozen=True)
class _Candidates:
    """The runs to compare: the first two tasks, evaluated on prompts that are not reported."""

    method: str
    option: str
    base: RunPlan  # the method with all settings except the option, on the first two tasks
    unprotected: RunPlan  # naive
    seeds: tuple[int, ...]

    @classmethod
    def of(
        cls,
        method: str,
        sequence: str,
        option: str,
        prompts: str | None,
        tuner: str | None,
        settings: Settings,
        seeds: int,
    ) -> _Candidates:
        fields = registry.load("method", method).Options.model_fields
        if option not in fields:
            raise UserError(
                f"{method} has no option {option!r}: there is nothing to tune",
                hint=f"set --option to one of {', '.join(fields)}" if fields else "run it without tuning",
            )
        written = read_sequence(sequence)
        _, changes = split_settings(settings)
        plan = plan_run(written, method, tuner=tuner, settings=settings)
        naive = plan_run(written, "naive", tuner=tuner, settings=changes)
        two = _first_two(plan.sequence, sequence, prompts)
        return cls(
            method=method,
            option=option,
            base=_for_tuning(plan, two),
            unprotected=_for_tuning(naive, two),
            seeds=tuple(range(FIRST_SEED, FIRST_SEED + seeds)),
        )

    @property
    def rewards(self) -> tuple[str, ...]:
        return tuple(self.base.sequence.order)

    @property
    def directions(self) -> Array:
        return np.array([self.base.sequence.reward(name).direction for name in self.rewards])

    def naive(self) -> list[RunPlan]:
        return [replace(self.unprotected, seed=seed) for seed in self.seeds]

    def plans(self, value: float) -> list[RunPlan]:
        options = {**self.base.method_options, self.option: value}
        label = ",".join(filter(None, [self.base.label, f"{self.option}={value:g}"]))
        return [replace(self.base, seed=seed, method_options=options, label=label) for seed in self.seeds]


def _first_two(sequence: SequenceSpec, reference: str, prompts: str | None) -> SequenceSpec:
    """The sequence cut after its second task, with other evaluation prompts and latents."""
    if len(sequence.tasks) < 2:
        raise UserError(
            "a sequence with one task has nothing to protect", where=reference, hint="add a second task"
        )
    evaluated, count = prompts or sequence.prompts.train, sequence.evaluation.prompts
    reported = set(load_prompts(sequence.prompts.eval)[:count])
    if shared := reported & set(load_prompts(evaluated)[:count]):
        raise UserError(
            f"the evaluation reports {len(shared)} prompts of {evaluated}, for example {min(shared)!r}",
            where="--prompts",
            hint="name a set of other prompts",
        )
    return sequence.model_copy(
        update={
            "tasks": sequence.tasks[:2],
            "prompts": sequence.prompts.model_copy(update={"eval": evaluated}),
            "evaluation": sequence.evaluation.model_copy(update={"seed": FIRST_SEED, "probes": []}),
        }
    )


def _for_tuning(plan: RunPlan, sequence: SequenceSpec) -> RunPlan:
    return replace(
        plan, sequence=sequence, order="first-two", official=False, comparable=False, purpose="tuning"
    )


def _matrix(plan: RunPlan, out: Path) -> Array:
    """R of a run over rows step 0..2 and the two rewards; (3, 2)."""
    table = StoredRun(plan.folder(out)).reward_matrix
    return np.asarray(table[plan.sequence.order].to_numpy())


def _plain(R: Array) -> Matrix:
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in R)


def _write(study: Study, candidates: _Candidates, keep: float, computed: dict[str, Any]) -> None:
    """Adds the study to its file. Replaces a study of the same sequence, tuner and settings."""
    sequence, plan = candidates.base.sequence, candidates.base
    key = " / ".join(filter(None, [sequence.name, plan.tuner, plan.label, study.option]))
    older = read_json(study.file) if study.file.exists() else {}
    content = {
        "chosen": study.chosen,
        "keep": keep,
        "reference": study.reference,
        "floors": study.floors,
        "rewards": study.rewards,
        "directions": candidates.directions.tolist(),
        "naive": study.naive,
        "trials": [{"value": t.value, "keeps": t.keeps, "R": t.R} for t in study.trials],
        "made_with": {
            "sequence_version": sequence.version,
            "options": plan.method_options,
            "tuner": sequence.tuner.model_dump(),
            "prompts": sequence.prompts.eval,
            "seeds": candidates.seeds,
            **computed,
            "versions": versions(),
            "git": provenance.revision(),
        },
    }
    write_files({study.file: to_json({**older, key: content}).encode()})
