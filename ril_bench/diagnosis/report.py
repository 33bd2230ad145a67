"""A diagnosis, and its text: what the command line prints and a notebook shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ril_bench.diagnosis.footprint import Memory
from ril_bench.diagnosis.gpus import EFFICIENCY, GPUEstimate
from ril_bench.remote.search import FOLDER
from ril_bench.running.progress import duration
from ril_bench.sequences.needs import Need

#: whether a GPU's memory is enough, in words
ENOUGH = {True: "yes", False: "no", None: "maybe"}


@dataclass(frozen=True)
class RunTime:
    """The time of one run with the plain method (naive).

    Attributes:
        evaluations: denoiser evaluations of updates, criteria and evaluations, at most; a guided prediction counts two.
            None if a tuner has a fault.
        rate: operations a second of a matrix product, measured here; None if the model is not known.
        at_rate: seconds of the evaluations at that rate, forward calls alone; None if the model is not known.
        by_runs: seconds, estimated from complete runs of this sequence and tuner; None if there are none.
    """

    evaluations: int | None
    rate: float | None
    at_rate: float | None
    by_runs: float | None


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What a sequence needs, and what this machine lacks.

    A fault prevents the run, a note does not.
    """

    sequence: str
    tasks: list[str]
    model: str
    device: str
    compute: dict[str, Any]
    online: bool | None  # None if everything is on this machine; then the hub is not contacted
    needs: list[Need]
    memory: Memory | None
    time: RunTime
    gpus: list[GPUEstimate] = field(default_factory=list)  # empty for the embedded world
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether `ril-bench run` would complete, as far as can be known before it starts."""
        return not self.faults

    def plain(self) -> dict[str, Any]:
        """Lists and dictionaries for JSON."""
        return asdict(self) | {"ready": self.ready}

    def __repr__(self) -> str:
        return description(self)


def description(found: Diagnosis) -> str:
    """The text of a diagnosis, with the verdict in the last line."""
    lines = [f"{found.sequence}: {' -> '.join(found.tasks)}", f"on {found.model}"]
    for need in found.needs:
        lines += _of_need(need)
    if memory := found.memory:
        parts = ", ".join(f"{part} {size(count)}" for part, count in memory.weights.items() if count)
        lines += [
            f"memory on {memory.device}: {peak(memory)}, {size(memory.free)} free",
            f"  weights: {parts}",
            f"  an update ({memory.task}, {memory.images} prompts at once) keeps {size(memory.kept)}",
        ]
        if memory.uncounted:
            lines += [f"  not counted, as the size is not known: {', '.join(memory.uncounted)}"]
    lines += _of_time(found)
    if found.gpus:
        lines += _of_gpus(found.gpus, found.compute["dtype"])
    lines += [f"note: {note}" for note in found.notes]
    lines += [f"fault: {fault}" for fault in found.faults]
    return "\n".join([*lines, _verdict(found)])


def size(count: float) -> str:
    """A number of bytes with a unit and three digits."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} bytes"


def peak(memory: Memory) -> str:
    """What a run needs, in words."""
    return f"{'at least' if memory.uncounted else 'about'} {size(memory.peak)}"


def total(needs: Sequence[Need]) -> str:
    """The size of all these files, in words: "about 3 GB", or "at least 3 GB" where some size is not known."""
    known = [need.size for need in needs if need.size is not None]
    if not known:
        return "an unknown number of bytes"
    return f"{'about' if len(known) == len(needs) else 'at least'} {size(sum(known))}"


def _of_need(need: Need) -> Iterable[str]:
    state = "here    " if need.here else "optional" if need.optional else "missing "
    facts = ", ".join(filter(None, [need.used_by, size(need.size) if need.size else "", need.licence]))
    yield f"  {state} {need.what} ({facts})"
    if not need.here:
        yield f"           {need.source}"
        if need.local:
            yield f"           ${FOLDER}/{need.local}"


def _of_time(found: Diagnosis) -> Iterable[str]:
    time = found.time
    if time.evaluations is None:
        yield "time of a run: not known, as a tuner has a fault"
        return
    yield f"time of a run: at most {time.evaluations:,} denoiser evaluations for updates and images".replace(
        ",", " "
    )
    if time.at_rate is not None and time.rate is not None:
        speed = f"{time.rate / 1e12:.3g} TFLOP/s, the rate of a matrix product here"
        yield f"  {duration(time.at_rate)} at {speed}; calls with a gradient take longer"
    if time.by_runs is not None:
        yield f"  about {duration(time.by_runs)}, by runs in the folder of runs"


def _of_gpus(rows: Iterable[GPUEstimate], dtype: str) -> Iterable[str]:
    yield f"estimates for common GPUs in {dtype}, not measured: counted operations at {EFFICIENCY:.0%} of the"
    yield "published peak rate, without the rewards"
    yield f"  {'GPU':<10} {'memory':>8}  {'enough':<6}  time of a run"
    for row in rows:
        hours = "no bfloat16" if row.hours is None else duration(3600 * row.hours)
        yield f"  {row.gpu:<10} {row.memory:>5} GB  {ENOUGH[row.fits]:<6}  {hours}"


def _verdict(found: Diagnosis) -> str:
    if not found.ready:
        return "not ready"
    required, optional = (
        [need for need in found.needs if not need.here and need.optional is state] for state in (False, True)
    )
    facts = []
    if required:
        more = f", and {total(optional)} for more metrics" if optional else ""
        facts.append(f"a run will download {total(required)}{more}")
    if found.memory and found.memory.uncounted:
        facts.append(
            f"whether memory suffices is not known without the size of {', '.join(found.memory.uncounted)}"
        )
    return ": ".join(filter(None, ["ready", "; ".join(facts)]))
