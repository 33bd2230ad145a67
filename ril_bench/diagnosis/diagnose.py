"""Whether this machine can run a sequence: files, memory and time. No weights are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ril_bench.config.settings import UNCHANGED, Settings, parse_settings
from ril_bench.diagnosis.footprint import Footprint, footprint, images_at_once, rate
from ril_bench.diagnosis.gpus import estimates
from ril_bench.diagnosis.report import Diagnosis, RunTime, peak, size, total
from ril_bench.diffusion.configs import check_folder, read_config
from ril_bench.diffusion.families import resized
from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute, compute_of
from ril_bench.machine.devices import named_device
from ril_bench.remote.network import hub_answers
from ril_bench.remote.search import FOLDER
from ril_bench.running.materials import new_tuner
from ril_bench.running.plan import RunPlan, plan_run
from ril_bench.running.step_cost import guided_calls
from ril_bench.sequences.calibrations import load_calibration
from ril_bench.sequences.model_folders import local_folder
from ril_bench.sequences.needs import Need, missing_needs, needs_of, unusable_files
from ril_bench.sequences.spec import Sequence as SequenceSpec
from ril_bench.studies.grid.forecast import evaluations_of, seconds_per_evaluation
from ril_bench.worlds.missing import missing_metrics
from ril_bench.worlds.table import REAL

#: Options to try, in this order, if a run does not fit. The first changes results by rounding only.
LEANER: tuple[dict[str, Any], ...] = (
    {"checkpointing": True},
    {"checkpointing": True, "slicing": True, "dtype": "bfloat16"},
    {"checkpointing": True, "slicing": True, "dtype": "bfloat16", "vae_dtype": "bfloat16"},
)
NOT_RUN_YET = (
    "no sequence on a real model has been run on a GPU by the authors yet: its memory and hours are estimates"
)


def doctor(
    sequence: str,
    *,
    device: str = "auto",
    compute: Compute | Mapping[str, Any] | Iterable[str] = (),
    settings: Settings | Iterable[str] = UNCHANGED,
    tuner: str | None = None,
    preset: str | None = None,
    out: str | Path = "runs",
) -> Diagnosis:
    """Whether this machine can run a sequence; downloads nothing and loads no weights.

    Args:
        sequence: a sequence that ships, or a path to a YAML file.
        device: "cpu", "cuda", "cuda:1"; "auto" takes a GPU if there is one.
        compute: options of the arithmetic, as `ril_bench.run` takes them.
        settings: changes to the sequence: {"budget.micro_batch": 1}.
        tuner: another tuner than the sequence's, as `ril_bench.run` takes it.
        preset: published settings by name.
        out: the folder of runs, whose measured times are used.

    Returns a `Diagnosis` with `.ready`, `.faults`, `.notes` and `.plain()`.

    Raises UserError for a wrong sequence, setting or device.
    """
    device = named_device(device)
    compute, place = compute if isinstance(compute, Compute) else compute_of(compute), torch.device(device)
    plan = plan_run(sequence, "naive", settings=parse_settings(settings), tuner=tuner, preset=preset)
    spec = plan.sequence
    model_faults, tuner_faults = list(_model_faults(spec)), list(_tuner_faults(spec))
    evaluations = _evaluations(plan, tuner_faults)
    needs = needs_of(spec)
    missing = missing_needs(needs)
    online = hub_answers() if missing else None
    found = None
    if not (model_faults or tuner_faults):
        try:
            found = footprint(spec, place, compute)
        except UserError as error:
            model_faults.append(error.in_one_line)
    pace = seconds_per_evaluation(plan, Path(out))
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
        time=RunTime(
            evaluations=evaluations,
            rate=speed,
            at_rate=evaluations * found.flops_per_evaluation / speed
            if evaluations and found and speed
            else None,
            by_runs=evaluations * pace[0] if evaluations and pace else None,
        ),
        gpus=estimates(found, compute) if found and spec.home is REAL else [],
        faults=[
            *model_faults,
            *tuner_faults,
            *(error.in_one_line for error in unusable_files(spec)),
            *_missing(missing, online),
            *_too_large(spec, place, compute, found),
        ],
        notes=[*_notes(plan, needs, found is not None), *missing_metrics(spec.home)],
    )


def _evaluations(plan: RunPlan, tuner_faults: list[str]) -> int | None:
    """Denoiser evaluations of a run with step 0; None if a tuner has a fault, one of which may be found here."""
    if tuner_faults:
        return None
    try:
        return evaluations_of(plan, 1) + 2 * _images_of_an_evaluation(plan.sequence)
    except UserError as error:
        tuner_faults.append(error.in_one_line)
        return None


def _images_of_an_evaluation(spec: SequenceSpec) -> int:
    """Denoiser evaluations for the images of one evaluation.

    Step 0 has two sets of images: its evaluation images, and the reference images of FID.
    """
    each = spec.sampler.steps * guided_calls(spec)
    return spec.evaluation.prompts * spec.evaluation.images_per_prompt * each


def _model_faults(spec: SequenceSpec) -> Iterable[str]:
    """The first fault of the model's folder here: a part that is missing or does not fit, or the number of steps."""
    folder = local_folder(spec.model)
    if folder is None or not (folder / "model_index.json").is_file():
        return
    try:
        family = check_folder(folder)
        scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
        denoiser = read_config(folder / family.denoiser / "config.json")
        if size := spec.sampler.size:
            denoiser |= resized(denoiser, read_config(folder / "vae" / "config.json"), size)
        family.sampler(scheduler, denoiser, spec.sampler.steps, spec.sampler.eta)
    except UserError as error:
        yield error.in_one_line


def _tuner_faults(spec: SequenceSpec) -> Iterable[str]:
    """Faults of the tuners: an unknown option, or a gradient that the reward lacks."""
    for i in range(1, len(spec.tasks) + 1):
        try:
            new_tuner(spec, i, spec.reward(spec.task(i).name))
        except UserError as error:
            yield error.in_one_line


def _missing(missing: list[Need], online: bool | None) -> Iterable[str]:
    """Faults for files that a run could not download."""
    files = [need for need in missing if need.local]
    if files and not online:
        yield (
            f"{len(files)} files ({total(files)}) are not on this machine, and the hub does not answer: go online, or "
            f"set ${FOLDER} to a folder and put each file into it under the name that is listed with it"
        )
    for need in missing:
        if not need.downloadable:
            yield f"{need.what} is not there: {need.hint}"
        elif not online and not need.local:
            yield f"{need.what} is not on this machine, and the hub does not answer: {need.hint}"


def _too_large(
    spec: SequenceSpec, device: torch.device, compute: Compute, found: Footprint | None
) -> Iterable[str]:
    """A fault if a run does not fit into memory, with the first change that makes it fit."""
    if found is None or found.memory.fits is not False:
        return
    memory = found.memory
    fault = f"a run needs {peak(memory)} on {memory.device}, where {size(memory.free)} are free"
    smaller = _one_image_at_once(spec)
    for changes in ({}, *LEANER):
        new = {key: value for key, value in changes.items() if getattr(compute, key) != value}
        options = [f"--compute {key}={str(value).lower()}" for key, value in new.items()]
        for changed, more in ((spec, []), (smaller, ["--set budget.micro_batch=1"])):
            if changed is None or not (options or more):
                continue
            other = footprint(changed, device, compute.model_copy(update=new))
            if other is not None and other.memory.fits is not False:
                advice = " ".join([*options, *more])
                yield f"{fault}: add {advice}, and it needs {peak(other.memory)}"
                return
    yield f"{fault}: no option makes it fit; use a device with more memory"


def _one_image_at_once(spec: SequenceSpec) -> SequenceSpec | None:
    """The sequence with micro-batches of one sample; None if they have one sample already.

    Results stay the same.
    """
    if all(images_at_once(spec.task(i)) == 1 for i in range(1, len(spec.tasks) + 1)):
        return None
    tasks = [
        task.model_copy(update={"budget": task.budget.model_copy(update={"micro_batch": 1})})
        for task in spec.tasks
    ]
    return spec.model_copy(update={"tasks": tasks})


def _notes(plan: RunPlan, needs: list[Need], known: bool) -> Iterable[str]:
    spec = plan.sequence
    try:
        if load_calibration(spec) is None:
            yield (
                "no calibration: metrics will be in standard deviations (z); hint: ril-bench calibrate "
                f"{plan.reference}"
            )
    except UserError as error:
        yield error.in_one_line
    if not known:
        yield f"memory and time are not known: they need {spec.model} on this machine, and no fault of it or of a tuner"
    if spec.home is REAL:
        yield NOT_RUN_YET
    if unpinned := [need.what for need in needs if not need.pinned and need.downloadable]:
        yield f"not pinned to one version here: {', '.join(unpinned)}; run.json records what was used"
