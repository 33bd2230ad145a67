"""What a run is, before it runs: everything that decides its result, and the folder it belongs in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ril_bench import registry
from ril_bench.config.settings import UNCHANGED, Settings, setting_text, split_settings
from ril_bench.errors import UserError
from ril_bench.sequences.calibrations import Calibration, load_calibration
from ril_bench.sequences.presets import settings_of
from ril_bench.sequences.sequence_file import SequenceFile, read_sequence
from ril_bench.sequences.spec import Sequence
from ril_bench.storage.digests import sha256_file, sha256_json
from ril_bench.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from ril_bench.methods import Method

Purpose = Literal["result", "tuning", "calibration"]
GIVEN, REVERSED = "given", "reversed"  # orders of tasks that have a name
#: in run.json: names and paths as the user wrote them
REFERENCES = ("sequence_reference", "method_reference")
LATIN = "latin"  # stands for several of them


@dataclass(frozen=True)
class RunPlan:
    """sequence x method x tuner x seed, resolved."""

    sequence: Sequence
    reference: str  # the sequence as the user named it
    method: str
    method_options: dict[str, Any]
    seed: int
    label: str | None = None
    order: str = "given"
    #: whether the sequence runs as it is written, but for its order and tuner
    official: bool = True
    #: whether step 0 is generated exactly as the unchanged sequence generates it
    comparable: bool = True
    #: what the run is for: reports and the leaderboard take results alone
    purpose: Purpose = "result"

    @property
    def tuner(self) -> str:
        return registry.short_name(self.sequence.tuner.name)

    def folder(self, out: Path) -> Path:
        """OUT/<sequence>/<order>/<method>[@label]/<tuner>/seed-<n>."""
        method = registry.short_name(self.method) + (f"@{self.label}" if self.label else "")
        return out / self.sequence.name / self.order / method / self.tuner / f"seed-{self.seed}"

    def is_complete(self, folder: RunFolder) -> bool:
        """Whether this very run is done in a folder. Raises UserError where the folder holds another one."""
        if not folder.exists:
            return False
        run, own = folder.read_run(), self.identity()
        # The digest stands for the sequence, wherever it lies; run.json also records what the method's class states.
        own = {key: value for key, value in own.items() if key not in ("sequence", *REFERENCES)}
        run["method"] = {key: run["method"].get(key) for key in own["method"]}
        if others := [key for key in own if run.get(key) != own[key]]:
            raise UserError(
                f"this folder holds another run: {', '.join(others)} differ",
                where=str(folder.path),
                hint="give changed settings a --label, choose another --out, or delete the folder",
            )
        return bool(run["status"] == "complete")

    def load_calibration(self) -> Calibration | None:
        """The calibration that this run's metrics are normalised by, None where there is none.

        Raises UserError where a task's reward cannot be learned: it is refused before anything is trained.
        """
        from ril_bench.scoring.score import scale  # scoring imports torch

        calibration = load_calibration(self.sequence) if self.comparable else None
        scale(calibration, self.sequence.order)
        return calibration

    def build_method(self) -> Method:
        """The method with its options. Raises UserError where it cannot be imported or an option is wrong."""
        method: Method = registry.load("method", self.method)(**self.method_options)
        return method

    def check(self) -> None:
        """Raises UserError for what a run would refuse before its first step, as far as no model is needed."""
        self.load_calibration()
        self.build_method()

    def identity(self) -> dict[str, Any]:
        """What must be equal for two runs to be the same run, as run.json holds it."""
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

    def resolved(self) -> dict[str, Any]:
        """Everything that decides the result, with the defaults of all options, as plain data for people to read.

        Raises UserError as `check`, and for a task's tuner with a wrong option.
        """
        self.check()
        sequence = self.sequence.model_dump(mode="json")
        for task in sequence["tasks"]:
            options = {key: value for key, value in task["tuner"].items() if key != "name"}
            tuner = registry.load("tuner", task["tuner"]["name"])(**options)
            task["tuner"] |= tuner.options.model_dump(mode="json")
        calibration = load_calibration(self.sequence) if self.comparable else None
        return {
            "folder": self.folder(Path()).as_posix(),
            "method": {"name": self.method, **self.build_method().options.model_dump(mode="json")},
            "label": self.label,
            "seed": self.seed,
            "order": self.order,
            "official": self.official,
            "calibration": str(calibration.file) if calibration else None,
            # What tasks inherit is shown in each task.
            "sequence": {
                key: value for key, value in sequence.items() if key not in ("tuner", "optimizer", "budget")
            },
        }


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
    """Resolves names and settings into what a run is.

    A label names changed settings, so that they get a folder of their own; without one it is made of them.

    Args:
        sequence: its name or path; or its file, already read, where many plans are made of one.
        tuner: another one than the sequence's, with its defaults; the sequence's own, if named, keeps its options.
        settings: {"budget.updates": 10, "method.strength": 0.1}.
        order: of the tasks: "given", "reversed", or their numbers, as "2-3-1".
        preset: published settings by name, which `settings` may change again; it brings its own tuner.

    Raises:
        UserError: whatever is wrong with the sequence, the names, the settings or the order.
    """
    registry.locate("method", method)
    if preset and tuner:
        raise UserError(
            f"the preset {preset} brings its own tuner", where="--tuner", hint="leave one of the two out"
        )
    written = read_sequence(sequence) if isinstance(sequence, str) else sequence
    options, changes = split_settings(settings)
    official = written.resolve(tuner=tuner)
    changed = (settings_of(preset) if preset else {}) | changes
    resolved = written.resolve(changed, tuner=tuner) if changed else official
    order, sequence_in_order = _ordered(resolved, order)
    return RunPlan(
        sequence=sequence_in_order,
        reference=written.reference,
        method=method,
        method_options=options,
        seed=seed,
        label=label or _label(preset, changes, options),
        order=order,
        official=resolved.sha256 == official.sha256,
        comparable=_step_zero(resolved) == _step_zero(official),
    )


def official_sequence(name: str, *, tuner: str, order: str) -> Sequence:
    """What an official run of a sequence runs: as it is written, its tasks in an order, each on the tuner.

    Raises UserError for a name or an order that there is not, or an order that another name stands for.
    """
    known, sequence = _ordered(read_sequence(name).resolve(tuner=tuner), order)
    if known != order:
        raise UserError(f"the order {order!r} is called {known!r}", where="order", hint=f"write {known!r}")
    return sequence


def orders(sequence: Sequence, names: Iterable[str]) -> list[str]:
    """The orders of a sequence's tasks that a list names, each once.

    "latin" stands for the T cyclic shifts of the given order: every task comes once at every place, so that a mean
    over them favours no place.
    """
    tasks = range(len(sequence.tasks))
    shifts = ["-".join(str((start + k) % len(tasks) + 1) for k in tasks) for start in tasks]
    latin = [_ordered(sequence, shift)[0] for shift in shifts]
    return list(dict.fromkeys(order for name in names for order in (latin if name == LATIN else [name])))


def _ordered(sequence: Sequence, order: str) -> tuple[str, Sequence]:
    """The name of an order, one for each permutation, and the sequence with its tasks in it."""
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


def _step_zero(sequence: Sequence) -> str:
    """A digest of what decides step 0, and with it whether a calibration applies."""
    written = sequence.model_dump(mode="json", exclude={"evaluation": {"every"}})
    parts = ("model", "sampler", "evaluation")
    own = {"world": sequence.home.name, "eval": sequence.prompts.eval}
    return sha256_json({part: written[part] for part in parts} | own)


def _label(preset: str | None, changes: Settings, options: Settings) -> str | None:
    """The name of changed settings, fit for a folder; None where nothing is changed."""
    texts = [setting_text(key, value) for key, value in [*changes.items(), *options.items()]]
    return re.sub(r"[^A-Za-z0-9=.,+_-]+", "_", ",".join(filter(None, [preset, *texts])))[:120] or None
