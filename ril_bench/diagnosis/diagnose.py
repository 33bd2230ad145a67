"""Whether this machine can run a sequence: files, memory, time; what is missing, and how to fix it. No weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ril_bench.config.settings import UNCHANGED, Settings
from ril_bench.diagnosis.footprint import Footprint, Memory, footprint, rate
from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute
from ril_bench.remote.network import hub_answers
from ril_bench.remote.search import FOLDER
from ril_bench.running.plan import plan_run
from ril_bench.sequences.calibrations import load_calibration
from ril_bench.sequences.needs import Need, needs_of
from ril_bench.studies.grid.forecast import evaluations_of, seconds_per_evaluation
from ril_bench.worlds.missing import missing_metrics

#: tried in turn where a run does not fit: what keeps results the same up to rounding comes first
LEANER = (
    {"checkpointing": True},
    {"checkpointing": True, "slicing": True, "dtype": "bfloat16"},
    {"checkpointing": True, "slicing": True, "dtype": "bfloat16", "vae_dtype": "bfloat16"},
)


@dataclass(frozen=True)
class Time:
    """Of one run with the plain method (naive).

    evaluations: of the denoiser, by rollouts and images; a guided one counts two.
    at_least: seconds, at the rate of a plain matrix product measured here; None where the model is not known.
    by_runs: seconds, by runs of this sequence and tuner that were made here; None where there are none.
    """

    evaluations: int
    rate: float | None
    at_least: float | None
    by_runs: float | None


@dataclass(frozen=True)
class Diagnosis:
    """What a sequence needs, and what of it is not right. `faults` keep it from running, `notes` do not."""

    sequence: str
    tasks: list[str]
    model: str
    device: str
    compute: dict[str, Any]
    online: bool | None  # None where nothing has to be downloaded: nobody asked
    needs: list[Need]
    memory: Memory | None
    time: Time
    faults: list[str]
    notes: list[str]

    @property
    def ready(self) -> bool:
        """Whether `ril-bench run` would run it to its end, as far as can be told beforehand."""
        return not self.faults

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"ready": self.ready}


def diagnose(
    sequence: str,
    *,
    device: str = "cpu",
    compute: Compute | None = None,
    settings: Settings = UNCHANGED,
    preset: str | None = None,
    out: Path = Path("runs"),
) -> Diagnosis:
    """Looks at everything that a run would need, in seconds.

    Args:
        compute: as the run would be given it.
        settings: changes to the sequence: {"budget.micro_batch": 1}.
        preset: published settings by name.
        out: where runs are kept, for times that were measured.

    Raises UserError for a sequence that is faulty as it is written.
    """
    compute, place = compute or Compute(), torch.device(device)
    plan = plan_run(sequence, "naive", settings=settings, preset=preset)
    spec = plan.sequence
    needs = needs_of(spec)
    missing = [need for need in needs if not need.here and not need.optional]
    online = hub_answers() if missing else None
    found = footprint(spec, place, compute)
    evaluations = evaluations_of(plan, 1) + 2 * _images(spec)
    pace = seconds_per_evaluation(plan, out)
    speed = rate(place, compute) if found else None
    return Diagnosis(
        sequence=spec.name,
        tasks=spec.order,
        model=spec.model,
        device=device,
        compute=compute.model_dump(),
        online=online,
        needs=needs,
        memory=found.memory if found else None,
        time=Time(
            evaluations=evaluations,
            rate=speed,
            at_least=evaluations * found.flops_per_evaluation / speed if found and speed else None,
            by_runs=evaluations * pace[0] if pace else None,
        ),
        faults=[*_missing(missing, online), *_too_large(spec, place, compute, found)],
        notes=list(_notes(spec, needs, found)),
    )


def _images(spec: Any) -> int:
    """Denoiser evaluations of one evaluation's images; step 0 has two: its own, and those FID is held against."""
    each = spec.sampler.steps * (1 if spec.sampler.guidance == 1 else 2)
    return int(spec.evaluation.prompts * spec.evaluation.images_per_prompt * each)


def _missing(missing: list[Need], online: bool | None) -> Iterable[str]:
    """What a run could not get for itself."""
    files = [need for need in missing if need.local]
    if files and not online:
        known = size(sum(need.size or 0 for need in files))
        yield (
            f"{len(files)} files ({known} or more) are not on this machine, and the hub does not answer: go online, or "
            f"set ${FOLDER} to a folder and put each into it under the name that is told above"
        )
    for need in missing:
        if not need.source.startswith("https://"):
            yield f"{need.what} is not there: {need.hint}"
        elif not online and not need.local:
            yield f"{need.what} is not on this machine, and the hub does not answer: {need.hint}"


def _too_large(spec: Any, device: torch.device, compute: Compute, found: Footprint | None) -> Iterable[str]:
    """Whether it fits, and if not, the first of the leaner ways that does."""
    if found is None or found.memory.fits:
        return
    peak, free = size(found.memory.peak), size(found.memory.free)
    said = f"a run needs about {peak} on {found.memory.device}, where {free} are free"
    for changes in LEANER:
        leaner = compute.model_copy(update=changes)
        other = footprint(spec, device, leaner)
        if other is not None and other.memory.fits:
            options = " ".join(
                f"--compute {key}={str(value).lower()}"
                for key, value in leaner.model_dump().items()
                if value != Compute.model_fields[key].default
            )
            yield f"{said}: {options} brings it to about {size(other.memory.peak)}"
            return
    yield f"{said}: try --set budget.micro_batch=1 (results stay the same), or a device with more"


def _notes(spec: Any, needs: list[Need], found: Footprint | None) -> Iterable[str]:
    try:
        if load_calibration(spec) is None:
            yield f"there is no calibration: figures will be z; ril-bench calibrate {spec.name} makes one"
    except UserError as error:
        yield str(error)
    if found is None:
        yield f"memory and time are not known before {spec.model} is on this machine"
    yield from missing_metrics(spec.home)
    if loose := [need.what for need in needs if not need.pinned and need.source.startswith("https://")]:
        yield f"not pinned to one version here: {', '.join(loose)}; run.json records what was used"


def size(count: float) -> str:
    """Bytes for people."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} bytes"
