"""The plans that --dry-run prints: what would run, where, at what cost, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from ril_bench.api.common import OUT, THREADS, Settings
from ril_bench.api.doctor import doctor
from ril_bench.api.runs import plan_of, spec_of
from ril_bench.storage.files import expanded

if TYPE_CHECKING:
    from ril_bench.studies.grid.axes import GridSpec
    from ril_bench.studies.grid.grid import GridPlan


@dataclass(frozen=True)
class RunPreview:
    """A run before it starts.

    Attributes:
        state: "new", "can be continued" or "complete".
        configuration: every setting that decides the result; `method` has the values of all options, and `tuners` those
            of each task's tuner, defaults included.
        evaluations: denoiser evaluations of the tuner's updates, of criteria and of evaluations, without those of the
            method; None if a tuner has a fault.
        seconds: estimated from runs of the same sequence and tuner in the same folder; None without such runs.
        faults: what prevents the run from completing, each with its hint.
        notes: what is missing but does not prevent the run, such as a metric.
    """

    folder: Path
    state: Literal["new", "can be continued", "complete"]
    device: str
    configuration: dict[str, Any]
    evaluations: int | None
    seconds: float | None
    faults: list[str]
    notes: list[str]

    def plain(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return asdict(self) | {"folder": str(self.folder)}

    def __str__(self) -> str:
        from ril_bench.running.progress import duration

        time = "not known before a first run" if self.seconds is None else f"about {duration(self.seconds)}"
        evaluations = "unknown" if self.evaluations is None else f"{self.evaluations:,}".replace(",", " ")
        return "\n".join(
            [
                yaml.safe_dump(self.configuration, sort_keys=False, allow_unicode=True).rstrip(),
                "",
                f"folder: {self.folder} ({self.state})",
                f"device: {self.device}",
                f"cost: {evaluations} denoiser evaluations, without those that the method adds; time: {time}",
                *(f"missing: {fault}" for fault in self.faults),
                *(f"note: {note}" for note in self.notes),
                *([] if self.faults else ["nothing that the run needs is missing"]),
            ]
        )


def preview(
    sequence: str,
    *,
    method: str,
    tuner: str | None = None,
    order: str = "given",
    seed: int = 0,
    preset: str | None = None,
    settings: Settings = (),
    label: str | None = None,
    out: str | Path = OUT,
    device: str = "auto",
    compute: Settings = (),
    offline: bool = False,
) -> RunPreview:
    """What `run` with the same arguments would do.

    Trains nothing, downloads nothing and writes nothing.

    Raises UserError for everything that `run` would refuse at its start.
    """
    from ril_bench.config.settings import parse_settings, split_settings
    from ril_bench.running.run_record import tuner_records
    from ril_bench.storage.run_folder import RunFolder

    settings = parse_settings(settings)
    plan = plan_of(sequence, method, tuner, order, seed, preset, settings, label)
    plan.check()
    configuration = plan.identity()
    # the plan has only the options that are set; these have the defaults of the classes
    configuration["method"]["options"] = plan.build_method().options.model_dump(mode="json")
    configuration["tuners"] = tuner_records(plan.sequence)
    folder = plan.folder(expanded(out))
    complete = plan.is_complete(RunFolder(folder))
    _, of_sequence = split_settings(settings)  # a diagnosis is of a sequence, whatever the method
    found = doctor(
        sequence, tuner=tuner, preset=preset, settings=of_sequence, out=out, device=device, compute=compute,
        offline=offline,
    )  # fmt: skip
    return RunPreview(
        folder=folder,
        state="complete" if complete else "can be continued" if RunFolder(folder).exists else "new",
        device=found.device,
        configuration=configuration,
        evaluations=found.time.evaluations,
        seconds=found.time.by_runs,
        faults=found.faults,
        notes=found.notes,
    )


def preview_grid(
    file: str | Path | GridSpec | None = None,
    *,
    sequences: Sequence[str] = (),
    methods: Sequence[str] = (),
    tuners: Sequence[str] = (),
    orders: Sequence[str] = (),
    seeds: Sequence[int] = (),
    settings: Settings = (),
    shard: str | None = None,
    jobs: int | None = None,
    engine: Literal["local", "ray"] = "local",
    gpus: float | None = None,
    out: str | Path = OUT,
    device: str = "auto",
    threads: int = THREADS,
) -> GridPlan:
    """What `grid` with the same arguments would do; trains nothing and writes nothing.

    Raises UserError for combinations that cannot run.
    """
    from ril_bench.studies.grid.grid import plan_grid

    spec = spec_of(file, sequences, methods, tuners, orders, seeds, settings)
    return plan_grid(
        spec, expanded(out), shard=shard, jobs=jobs, threads=threads, device=device, engine=engine, gpus=gpus
    )


def preview_claim(
    claim: str,
    *,
    seeds: int | None = None,
    jobs: int | None = None,
    out: str | Path = OUT,
    device: str = "auto",
    threads: int = THREADS,
) -> GridPlan:
    """What `reproduce` with the same arguments would do; trains nothing and writes nothing.

    Raises UserError for a claim with faults.
    """
    from ril_bench.studies.claims.reproduce import plan_claim

    return plan_claim(claim, out=expanded(out), seeds=seeds, jobs=jobs, threads=threads, device=device)
