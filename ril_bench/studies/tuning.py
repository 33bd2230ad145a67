"""Fair tuning: how strongly a method protects, chosen on the first two tasks alone.

After the framework of De Lange et al. 2021 (arXiv 1909.08383, algorithm 1; FACIL has it in code): find what naive
tuning learns, then the strongest protection that keeps a stated part of it.

    floor_i = d_i R_naive[i][i] - (1 - keep) d_i (R_naive[i][i] - R_naive[i-1][i])        i = 1, 2
    a value keeps  <=>  d_i R[i][i] >= floor_i  for both i

Theirs is a multiple of the accuracy; rewards can be negative, so ours takes a part of the gain off [ours]. Theirs
weakens the protection by a factor until the floor is reached; ours halves the candidates, which asks less and
supposes, as theirs does, that more protection never learns more [ours]. A method may learn less than naive at any
strength, as a fresh adapter over frozen ones does: then what its weakest value learns takes naive's place, and the
study says so [ours]. Later tasks, the evaluation's prompts and the
seeds of reported runs are never seen.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ril_bench import registry
from ril_bench.config.settings import Settings, parse_settings, split_settings
from ril_bench.data.prompts import load_prompts
from ril_bench.errors import NumericalError, UserError
from ril_bench.metrics.arrays import Array
from ril_bench.running import provenance
from ril_bench.running.plan import RunPlan, plan_run
from ril_bench.running.progress import Reporter
from ril_bench.sequences.sequence_file import read_sequence
from ril_bench.sequences.spec import Sequence as SequenceSpec
from ril_bench.storage.run_folder import read_json, to_json, write_files
from ril_bench.studies.grid.workers import make_all

Matrix = tuple[tuple[float, ...], ...]  # as JSON holds it
FIRST_SEED = 2001  # neither a submission's nor a calibration's
STRENGTHS = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-6, 9))  # .001 to 10 000, by half decades


@dataclass(frozen=True)
class Trial:
    """One value of the option, and what came of it.

    R: the mean reward matrix of the first two tasks over the seeds, rows step 0..2, in the rewards' units; None
    where the training left the finite numbers.
    """

    value: float
    R: Matrix | None
    keeps: bool


@dataclass(frozen=True)
class Study:
    """What `tune` found.

    chosen: None where no value keeps. at_the_end: the strongest candidate was chosen: stronger ones may keep as much.
    reference: whose learning the floors were taken from.
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
    """R[i][i] of a matrix with rows 0..2 and two columns: each reward just after its own task."""
    return np.diagonal(R[1:])


def gains(R: Array, directions: Array) -> Array:
    """d_i (R[i][i] - R[i-1][i]), i = 1, 2: what each task raised its own reward by."""
    return directions * (learned(R) - np.diagonal(R))


def floors(R: Array, directions: Array, keep: float) -> Array:
    """What a value must reach on each task to keep a part of what R learned; signed, higher is better; (2,)."""
    return directions * learned(R) - (1 - keep) * gains(R, directions)


def keeps(R: Array | None, floors: Array, directions: Array) -> bool:
    """Whether a matrix reaches the floors; one that is not there does not."""
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
    jobs: int | None = None,
    device: str = "cpu",
    reporter: Reporter | None = None,
) -> Study:
    """Chooses a method's option for a sequence and a tuner, and files the trials in METHOD.tuning.json beside it.

    Runs lie in `out`, and finished ones are not made again.

    Args:
        keep: the part of naive's gain that has to be learned on each of the two tasks.
        values: candidates, from the weakest protection to the strongest.
        prompts: to judge by; the sequence's training prompts unless told, as they are not reported.
        settings: fixed changes: {"method.space": "noise"}, or texts as "method.space=noise".

    Raises UserError for an option that the method lacks, a sequence of one task, prompts that the evaluation
    reports, or rewards that naive tuning does not raise within the budget.
    """
    reporter = reporter or Reporter()
    candidates = _Candidates.of(method, sequence, option, prompts, tuner, parse_settings(settings), seeds)
    directions, names = candidates.directions, candidates.rewards
    measured = partial(_matrix, out=out, jobs=jobs, device=device, reporter=reporter)
    reporter.say(f"what naive tuning learns of {' and '.join(names)}")
    R_naive = measured(candidates.naive())
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
            reporter.say(f"{option} {value:g}")
            try:
                found[value] = measured(candidates.plans(value))
            except NumericalError as error:  # a protection that breaks the training keeps nothing
                reporter.say(str(error))
                found[value] = None
        return found[value]

    def strongest(floor: Array) -> int:
        """How many of the values keep, counted from the weakest."""
        return bisect_left(values, True, key=lambda value: not keeps(matrix_at(value), floor, directions))

    reference, floor = "naive", floors(R_naive, directions, keep)
    kept = strongest(floor)
    weakest = matrix_at(values[0]) if not kept else None
    if weakest is not None:
        reporter.say(f"no {option} learns what naive does: what {values[0]:g} learns takes its place")
        reference, floor = f"{option} {values[0]:g}", floors(weakest, directions, keep)
        kept = strongest(floor)
    study = Study(
        file=_file(method),
        option=option,
        chosen=values[kept - 1] if kept else None,
        at_the_end=kept == len(values),
        reference=reference,
        floors=tuple(floor.tolist()),
        rewards=names,
        naive=_plain(R_naive),
        trials=tuple(
            Trial(value, None if R is None else _plain(R), keeps(R, floor, directions))
            for value, R in sorted(found.items(), key=lambda item: values.index(item[0]))
        ),
    )
    _write(study, candidates, keep, device)
    return study


@dataclass(frozen=True)
class _Candidates:
    """The runs that are to be compared: the first two tasks, judged on prompts that are not reported."""

    method: str
    option: str
    base: RunPlan  # the method, all but the option, on the first two tasks
    unprotected: RunPlan
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
                hint=f"--option, one of {', '.join(fields)}" if fields else "run it as it is",
            )
        written = read_sequence(sequence)
        _, changes = split_settings(settings)
        whole = plan_run(written, method, tuner=tuner, settings=settings)
        naive = plan_run(written, "naive", tuner=tuner, settings=changes)
        two = _first_two(whole.sequence, sequence, prompts)
        return cls(
            method=method,
            option=option,
            base=_judged(whole, two),
            unprotected=_judged(naive, two),
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
        raise UserError("one task alone leaves nothing to protect", where=reference, hint="add a second task")
    judged_on, count = prompts or sequence.prompts.train, sequence.evaluation.prompts
    reported = set(load_prompts(sequence.prompts.eval)[:count])
    if shared := reported & set(load_prompts(judged_on)[:count]):
        raise UserError(
            f"{len(shared)} prompts of {judged_on} are reported by the evaluation, as {min(shared)!r}",
            where="--prompts",
            hint="name a set of other prompts to judge by",
        )
    return sequence.model_copy(
        update={
            "tasks": sequence.tasks[:2],
            "prompts": sequence.prompts.model_copy(update={"eval": judged_on}),
            "evaluation": sequence.evaluation.model_copy(update={"seed": FIRST_SEED, "probes": []}),
        }
    )


def _judged(plan: RunPlan, sequence: SequenceSpec) -> RunPlan:
    return replace(plan, sequence=sequence, order="first-two", official=False, comparable=False)


def _matrix(
    plans: Sequence[RunPlan], *, out: Path, jobs: int | None, device: str, reporter: Reporter
) -> Array:
    """R over rows step 0..2 and the two rewards, averaged over the plans' seeds; (3, 2)."""
    make_all(plans, out, jobs=jobs, device=device, reporter=reporter)
    names = plans[0].sequence.order
    found = [pd.read_csv(plan.folder(out) / "matrix.csv", index_col="step")[names] for plan in plans]
    return np.asarray(np.mean([matrix.to_numpy() for matrix in found], axis=0))


def _plain(R: Array) -> Matrix:
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in R)


def _file(method: str) -> Path:
    """Beside the method's own file; for one of an installed package, in the current folder."""
    place = registry.locate("method", method)
    name = f"{registry.short_name(method)}.tuning.json"
    return place.with_name(name) if isinstance(place, Path) else Path(name)


def _write(study: Study, candidates: _Candidates, keep: float, device: str) -> None:
    """Adds the study to the method's file; an older one of the same sequence, tuner and settings gives way."""
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
            "device": device,
            "versions": provenance.versions(),
            "git": provenance.revision(),
        },
    }
    write_files({study.file: to_json({**older, key: content}).encode()})
