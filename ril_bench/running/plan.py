"""The plan of a run: everything that decides its result, and the path of its folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ril_bench import registry
from ril_bench.config.counts import count
from ril_bench.config.settings import UNCHANGED, Settings, setting_text, split_settings
from ril_bench.errors import MethodError, UserError
from ril_bench.running.inputs import Inputs, changes, inputs_of, inputs_of_method, refuse_changes
from ril_bench.running.owners import attributed, owners
from ril_bench.running.step_plan import step_budget, step_plan
from ril_bench.sequences.calibrations import Calibration, load_calibration
from ril_bench.sequences.presets import settings_of
from ril_bench.sequences.sequence_file import SequenceFile, read_sequence
from ril_bench.sequences.spec import Sequence
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.run_folder import RunFolder
from ril_bench.tuners.sampler_needs import check_sampler

if TYPE_CHECKING:
    from ril_bench.methods import Method

Purpose = Literal["result", "tuning", "calibration"]
GIVEN, REVERSED = "given", "reversed"  # orders of tasks that have a name
#: a label is a part of a folder's name
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9=.,+_-]{0,119}")
LATIN = "latin"  # stands for several orders
#: keys of run.json that hold names and paths as the user wrote them
REFERENCES = ("sequence_reference", "method_reference")


@dataclass(frozen=True)
class RunPlan:
    """One combination of sequence, method, tuner and seed, with all settings resolved."""

    sequence: Sequence
    reference: str  # the sequence as the user named it
    method: str
    method_options: dict[str, Any]
    seed: int
    label: str | None = None
    order: str = "given"
    #: whether the sequence runs as it is written; its order and its tuner may differ
    official: bool = True
    #: whether step 0 is generated exactly as the unchanged sequence generates it
    comparable: bool = True
    #: what the run is for: reports and the leaderboard use only results
    purpose: Purpose = "result"

    @property
    def tuner(self) -> str:
        return registry.short_name(self.sequence.tuner.name)

    def folder(self, out: Path) -> Path:
        """OUT/<sequence>/<order>/<method>[@label]/<tuner>/seed-<n>."""
        method = registry.short_name(self.method) + (f"@{self.label}" if self.label else "")
        return out / self.sequence.name / self.order / method / self.tuner / f"seed-{self.seed}"

    def is_complete(self, folder: RunFolder) -> bool:
        """Whether a folder holds this run, complete.

        Raises UserError where the folder holds another run, or where an input of the run has changed.
        """
        if not folder.exists:
            return False
        run, own = folder.read_run(), self.identity()
        recorded: Inputs | None = run.get("inputs")
        # The inputs replace the sequence: they do not depend on names and paths. Earlier versions recorded none.
        left_out = ("sequence", *REFERENCES, *(("sequence_sha256", "tuner") if recorded else ()))
        own = {key: value for key, value in own.items() if key not in left_out}
        # run.json has more keys of the method
        own["method"] = {key: value for key, value in own["method"].items() if key != "file_sha256"}
        run["method"] = {key: run["method"].get(key) for key in own["method"]}
        now = inputs_of(self.sequence, download=False) | inputs_of_method(self.method) if recorded else {}
        if different := [key for key in own if run.get(key) != own[key]]:
            different += changes(recorded or {}, now, packages=False)
            raise UserError(
                f"this folder holds another run: {', '.join(different)} differ",
                where=str(folder.path),
                hint="give changed settings a --label, choose another --out, or delete the folder",
            )
        complete = bool(run["status"] == "complete")
        refuse_changes(recorded or {}, now, folder.path, complete=complete)
        return complete

    def load_calibration(self) -> Calibration | None:
        """The calibration that normalises this run's metrics, None where there is none.

        Raises UserError where a task's reward cannot be learned, before anything is trained.
        """
        from ril_bench.scoring.score import scale  # scoring imports torch

        calibration = load_calibration(self.sequence) if self.comparable else None
        scale(calibration, self.sequence.order)
        return calibration

    def build_method(self) -> Method:
        """Builds the method with its options.

        Raises UserError where the method cannot be imported, or an option is wrong.
        """
        from ril_bench.machine.calls import called  # torch, which only a method needs

        with attributed(owners(self.sequence, self.method)):
            cls: type[Method] = registry.load("method", self.method)
            return called(partial(cls, **self.method_options), (), cls, "__init__", self._blame)

    def _blame(self, what: str, *, where: str, hint: str) -> MethodError:
        return MethodError(f"the method {self.method} {what}", where=where, hint=hint)

    def check(self) -> None:
        """Raises UserError for faults that can be found without a model, as a run would."""
        self.load_calibration()
        self.check_steps(self.build_method())

    def check_steps(self, method: Method) -> None:
        """Raises UserError for a step of the method that this sequence does not allow."""
        check_sampler(method.needs, self.sequence.sampler.eta, f"the method {self.method}")
        with attributed(owners(self.sequence, self.method)):
            for i in range(1, len(self.sequence.tasks) + 1):
                step_plan(method, self.sequence, i)

    def updates(self, i: int) -> int:
        """The largest number of updates of step i, with those of a consolidation."""
        plan = step_plan(self.build_method(), self.sequence, i)
        share = plan.consolidation.updates if plan.consolidation else 0.0
        return step_budget(plan, self.sequence, i)[0] + round(share * self.sequence.task(i).budget.updates)

    def identity(self) -> dict[str, Any]:
        """The values that are equal for two equal runs, as run.json holds them."""
        place = registry.locate("method", self.method)
        return {
            "sequence": self.sequence.model_dump(mode="json"),
            "sequence_sha256": self.sequence.sha256,
            "sequence_reference": self.reference,
            "method_reference": self.method,
            "order": self.order,
            "method": {
                "name": registry.short_name(self.method),
                "label": self.label,
                "options": self.method_options,
                "file_sha256": sha256_file(place) if isinstance(place, Path) else None,
            },
            "tuner": {"name": self.tuner, "options": self.sequence.tuner.options},
            "seed": self.seed,
            "official": self.official,
            "comparable": self.comparable,
        } | ({} if self.purpose == "result" else {"purpose": self.purpose})


def plan_run(
    sequence: str | SequenceFile,
    method: str,
    *,
    seed: int = 0,
    tuner: str | None = None,
    settings: Settings = UNCHANGED,
    label: str | None = None,
    order: str = GIVEN,
    preset: str | None = None,
) -> RunPlan:
    """Resolves names and settings into the plan of a run.

    A label names changed settings, so that a run with changed settings has a separate folder. The default
    label is built from the settings.

    Args:
        sequence: the name or path of a sequence; or its file, already read, for a caller that builds many
            plans.
        tuner: another tuner than the sequence's, with default options. If it is the sequence's own tuner, the
            options of the sequence stay.
        settings: {"budget.updates": 10, "method.strength": 0.1}.
        order: the order of the tasks: "given", "reversed", or the numbers of the tasks, as "2-3-1".
        preset: the name of published settings, which include a tuner. `settings` are applied after them.

    Raises:
        UserError: a fault in the sequence, the names, the settings or the order.
    """
    registry.locate("method", method)
    if label is not None and not _LABEL.fullmatch(label):
        raise UserError(
            f"a label cannot be {label[:100]!r}",
            where="--label",
            hint="use letters, digits and = . , + _ -, at most 120, beginning with a letter or a digit",
        )
    seed = count(seed, "seed", least=0)
    if preset is not None and tuner is not None:
        raise UserError(
            f"the preset {preset} has its own tuner", where="--tuner", hint="leave one of the two out"
        )
    written = read_sequence(sequence) if isinstance(sequence, str) else sequence
    options, changes = split_settings(settings)
    official = written.resolve(tuner=tuner)
    changed = (settings_of(preset) if preset is not None else {}) | changes
    resolved = written.resolve(changed, tuner=tuner) if changed else official
    order, sequence_in_order = ordered(resolved, order)
    return RunPlan(
        sequence=sequence_in_order,
        reference=written.reference,
        method=method,
        method_options=options,
        seed=seed,
        label=label or _label(preset, changes, options),
        order=order,
        official=resolved.sha256 == official.sha256,
        comparable=same_step_zero(resolved, official),
    )


def official_sequence(name: str, *, tuner: str, order: str) -> Sequence:
    """The sequence that an official run uses: unchanged settings, with this order and tuner.

    Raises UserError for an unknown name or order, and for an order with another name ("1-2-3" is "given").
    """
    known, sequence = ordered(read_sequence(name).resolve(tuner=tuner), order)
    if known != order:
        raise UserError(f"the order {order!r} is called {known!r}", where="order", hint=f"write {known!r}")
    return sequence


def orders(sequence: Sequence, names: Iterable[str]) -> list[str]:
    """The orders of a sequence's tasks that `names` states, each once.

    "latin" stands for the T cyclic shifts of the given order: every task comes once at every position, so
    that a mean over these orders favours no position.
    """
    tasks = range(len(sequence.tasks))
    shifts = ["-".join(str((start + k) % len(tasks) + 1) for k in tasks) for start in tasks]
    latin = [ordered(sequence, shift)[0] for shift in shifts]
    return list(dict.fromkeys(order for name in names for order in (latin if name == LATIN else [name])))


def ordered(sequence: Sequence, order: str) -> tuple[str, Sequence]:
    """The one name of an order's permutation, and the sequence with its tasks in that order.

    Raises UserError for an order that the tasks do not have.
    """
    given = list(range(1, len(sequence.tasks) + 1))
    named = {GIVEN: given, REVERSED: given[::-1]}
    numbers = named.get(order) or [int(n) if n.isdecimal() else 0 for n in order.split("-")]
    if sorted(numbers) != given:
        raise UserError(
            f"{order!r} is no order of the {len(given)} tasks of {sequence.name}",
            where="order",
            hint=f'write "{GIVEN}", "{REVERSED}", or every number once, as {"-".join(map(str, given[::-1]))}',
        )
    names = (name for name, known in named.items() if known == numbers)
    tasks = [sequence.task(number) for number in numbers]
    return next(names, "-".join(map(str, numbers))), sequence.model_copy(update={"tasks": tasks})


def same_step_zero(one: Sequence, other: Sequence) -> bool:
    """Whether two sequences have the same settings of step 0, so that one calibration applies to both."""
    return _of_step_zero(one) == _of_step_zero(other)


def _of_step_zero(sequence: Sequence) -> dict[str, Any]:
    written = sequence.model_dump(mode="json", exclude={"evaluation": {"every", "scales"}})
    parts = ("model", "sampler", "evaluation")
    own = {"world": sequence.home.name, "eval": sequence.prompts.eval}
    return {part: written[part] for part in parts} | own


def _label(preset: str | None, changes: Settings, options: Settings) -> str | None:
    """A label for changed settings that can be a part of a folder's name; None if none changed."""
    texts = [setting_text(key, value) for key, value in [*changes.items(), *options.items()]]
    return re.sub(r"[^A-Za-z0-9=.,+_-]+", "_", ",".join(filter(None, [preset, *texts])))[:120] or None
