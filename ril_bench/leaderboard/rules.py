"""The checks of one entry, in their order. Each has one idea, and reports every fault with its place and a hint.

A check runs after the checks that it builds on have passed: nothing is parsed before it is safe to parse, and one
fault is not reported five times. The code of an entry is never run, and no name in it leads to a file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ril_bench import registry
from ril_bench.data.prompts import load_prompts
from ril_bench.errors import UserError
from ril_bench.leaderboard import adapter_files as adapters
from ril_bench.leaderboard import bounds, option_values, safety, score_rows
from ril_bench.leaderboard.differences import differences, listed
from ril_bench.leaderboard.entry import RESUBMIT, Entry
from ril_bench.leaderboard.layout import REQUIRED, address, limit
from ril_bench.running.run_record import calibration_record
from ril_bench.running.steps import off_calibration
from ril_bench.scoring.matrix import matrix
from ril_bench.scoring.score import from_scores, resources
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file

Faults = Iterator[UserError]
RERUN = "run the sequence as it ships, and submit that: ril-bench run SEQUENCE --method ..."


@dataclass(frozen=True)
class EntryCheck:
    """A check of one entry; `after`: checks that must pass before this one runs."""

    name: str
    faults: Callable[[Entry], Faults]
    after: tuple[str, ...] = ()


# -- safe to open: nothing is parsed yet ---------------------------------------------------------------------


def files(entry: Entry) -> Faults:
    """Plain files with known names and bounded sizes; no required file is missing."""
    seen = set()
    for path, size, fault in safety.walk(entry.folder):
        name = path.relative_to(entry.folder).as_posix()
        seen.add(name)
        most = limit(name)
        if fault:
            yield fault
        elif most is None:
            hint = f"an entry holds {', '.join(REQUIRED)} and step-N/adapter.safetensors"
            yield UserError(f"an unknown file: {name}", where=str(path), hint=hint)
        elif size > most:
            yield UserError(f"{name} has {size:,} bytes", where=str(path), hint=f"at most {most:,}")
    for name in REQUIRED:
        if name not in seen:
            yield UserError(f"no {name}", where=str(entry.folder), hint=RESUBMIT)


def opens(entry: Entry) -> Faults:
    """Headers state sizes within the limits: pixels of an image, rows and bytes of a table."""
    yield from safety.image(entry.file(names.CONTACT_SHEET))
    for path in sorted(entry.folder.glob("*.parquet")):
        yield from safety.table(path)


def parses(entry: Entry) -> Faults:
    """Every JSON file is plain, and every table unpacks."""
    for read in ("raw", "metrics", "digests", "scores", "within"):
        try:
            getattr(entry, read)
        except UserError as error:
            yield error


def digests(entry: Entry) -> Faults:
    """digests.json lists exactly the files of the folder, each with its SHA-256."""
    where = entry.file(names.DIGESTS)
    there = {p.relative_to(entry.folder).as_posix() for p, _, _ in safety.walk(entry.folder)} - {
        names.DIGESTS
    }
    for name in sorted(there ^ set(entry.digests)):
        known = "has no digest" if name in there else "has a digest and is not in this folder"
        yield UserError(f"{name!r:.100} {known}", where=str(where), hint=RESUBMIT)
    for name in sorted(there & set(entry.digests)):
        found = sha256_file(entry.file(name))
        if entry.digests[name] != found:
            yield UserError(
                f"{name} has another digest: {found[:12]}..., not {str(entry.digests[name])[:12]}...",
                where=str(entry.file(name)),
                hint=f"the file was changed after it was submitted; {RESUBMIT}",
            )


# -- run.json --------------------------------------------------------------------------------------


def record(entry: Entry) -> Faults:
    """run.json has its form."""
    _ = entry.run
    yield from ()


def images(entry: Entry) -> Faults:
    """The metrics of images have their form, one row a step; their values are claims."""
    tasks, found = len(entry.sequence.order), entry.images
    blocks = {"fidelity": found.fidelity.steps, "structure": found.structure.steps}
    blocks |= {
        name: block.steps for name, block in (("diversity", found.diversity), ("drift", found.drift)) if block
    }
    for name, rows in blocks.items():
        first = 1 if name in ("structure", "drift") else 0
        steps = [row.get("step") for row in rows]
        if steps and steps != list(range(first, tasks + 1)):
            yield UserError(
                f"{name} has rows for the steps {steps}"[:200],
                where=str(entry.file(names.METRICS)),
                hint=f"a row for each of the steps {first} to {tasks}",
            )
    prompts = load_prompts(entry.sequence.prompts.eval)[: entry.sequence.evaluation.prompts]
    known = {f"{i:03d}": prompt for i, prompt in enumerate(prompts)}
    for row in found.structure.worst:
        if known.get(row.prompt_id) != row.prompt or row.step > tasks:
            yield UserError(
                f"structure.worst has a prompt that is not the evaluation's: {row.prompt!r:.100}",
                where=str(entry.file(names.METRICS)),
                hint=RESUBMIT,
            )


def complete(entry: Entry) -> Faults:
    """The run is complete and has all of its steps."""
    run, where = entry.run, str(entry.file(names.RUN))
    if run.status != "complete":
        yield UserError(f"the run is {run.status!r}, not complete", where=where, hint="let it end")
    steps, tasks = [step.step for step in run.steps], len(entry.sequence.order)
    if steps != list(range(tasks + 1)):
        yield UserError(
            f"its steps are {steps}"[:120], where=where, hint=f"submit a run with steps 0 to {tasks}"
        )


def official(entry: Entry) -> Faults:
    """Nothing of the sequence was changed, and the run is a result."""
    if (purpose := entry.raw.get("purpose", "result")) != "result":
        yield UserError(
            f"the run is for {purpose!s:.50}, not a result", where=str(entry.file(names.RUN)), hint=RERUN
        )
    if not (entry.run.official and entry.run.comparable):
        yield UserError("unofficial settings", where=str(entry.file(names.RUN)), hint=RERUN)


def sequence(entry: Entry) -> Faults:
    """The sequence is the official one of that name: its version, its digest, its text."""
    run, known = entry.run, entry.sequence
    where = str(entry.file(names.RUN))
    if run.sequence.version != known.version:
        yield UserError(
            f"the run used version {run.sequence.version} of {known.name}; the official one is version "
            f"{known.version}",
            where=where,
            hint="run it again: results of different versions do not compare",
        )
    elif run.sequence_sha256 != known.sha256:
        yield UserError(
            f"the sequence has the digest {run.sequence_sha256[:12]}...; that of the official {known.name}, in this "
            f"order and on this tuner, is {known.sha256[:12]}...",
            where=where,
            hint=RERUN,
        )
    elif entry.raw["sequence"] != known.model_dump(mode="json") or run.tuner.options != known.tuner.options:
        yield UserError("the sequence written out is not the one of its digest", where=where, hint=RESUBMIT)


def calibrated(entry: Entry) -> Faults:
    """The metrics use the official calibration."""
    official = entry.calibration.file
    kept = entry.run.calibration
    if kept is None or (official and kept.sha256 != sha256_file(official)):
        yield UserError(
            "the run was scored without the sequence's official calibration",
            where=str(entry.file(names.RUN)),
            hint="run it again with this version of ril-bench",
        )
    elif entry.raw["calibration"] != calibration_record(entry.calibration):
        yield UserError(
            "the calibration written out is not the one of its digest",
            where=str(entry.file(names.RUN)),
            hint=RESUBMIT,
        )


def addressed(entry: Entry) -> Faults:
    """Method, revision, sequence, order, tuner and seed are those of the folder."""
    stated, stored = address(entry.raw), entry.address
    pairs = [(name, getattr(stated.group, name), getattr(stored.group, name)) for name in vars(stored.group)]
    for name, own, folder in [*pairs, ("seed", stated.seed, stored.seed)]:
        if own != folder:
            yield UserError(
                f"the {name} in run.json is {own!r:.100}, that of the folder {folder!r}",
                where=str(entry.folder),
                hint=RESUBMIT,
            )


def oracle(entry: Entry) -> Faults:
    """A method with the name of one that ships is an oracle if and only if that one is."""
    name = entry.run.method.name
    if name in registry.names("method") and entry.shipped.method(name).oracle != entry.run.method.oracle:
        yield UserError(
            f"{name} is {'no ' if entry.run.method.oracle else 'an '}oracle",
            where=str(entry.file(names.RUN)),
            hint=f"{RESUBMIT}, or give your method a name of its own",
        )


# -- the scores ----------------------------------------------------------------------------------------------


def row_zero(entry: Entry) -> Faults:
    """Row 0 is the calibration's, within 0.05 sigma."""
    row = matrix(entry.scores).to_dict("index")[0]
    # one tolerance, whatever machine the run names
    if far := off_calibration(row, entry.calibration, entry.calibration.made_with.get("cpu")):
        yield UserError(
            far,
            where=str(entry.file(names.SCORES)),
            hint="the model, its weights or the libraries are not the benchmark's",
        )


# -- the metrics ---------------------------------------------------------------------------------------------


def matrix_csv(entry: Entry) -> Faults:
    """matrix.csv holds the means of the scores."""
    where = str(entry.file(names.MATRIX))
    try:
        head, *body = csv.reader(io.StringIO(entry.file(names.MATRIX).read_text("utf-8")))
        claimed = {f"step {int(i)}": dict(zip(head[1:], map(float, row), strict=True)) for i, *row in body}
    except (ValueError, csv.Error) as error:
        yield UserError(f"no table of numbers: {error}"[:200], where=where, hint=RESUBMIT)
        return
    if len(claimed) < len(body):
        yield UserError("a step has two rows", where=where, hint=RESUBMIT)
    computed = {f"step {i}": row for i, row in matrix(entry.scores).to_dict("index").items()}
    if head != ["step", *entry.sequence.rewards]:
        yield UserError(f"its columns are {', '.join(head)}"[:200], where=where, hint=RESUBMIT)
    if wrong := list(differences(claimed, computed)):
        yield UserError(f"not the scores' means: {listed(wrong)}", where=where, hint=RESUBMIT)


def metrics_json(entry: Entry) -> Faults:
    """Every value of metrics.json that follows from scores and steps, FORGET's floor included, is computed again."""
    notes: list[str] = []
    file = entry.calibration.file
    computed: dict[str, Any] = {
        "schema_version": 1,
        **from_scores(entry.scores, entry.sequence, entry.calibration, entry.within, notes),
        "resources": resources([step.model_dump() for step in entry.run.steps]),
        "calibration": {"file": file.name, "sha256": sha256_file(file)} if file else None,
    }
    claimed = {key: entry.metrics.get(key) for key in computed}
    if wrong := list(differences(claimed, computed)):
        yield UserError(
            f"not what the scores give: {listed(wrong)}", where=str(entry.file(names.METRICS)), hint=RESUBMIT
        )


def sheet(entry: Entry) -> Faults:
    """The contact sheet can be decoded."""
    try:
        with Image.open(entry.file(names.CONTACT_SHEET), formats=["WEBP"]) as image:
            image.load()
            if image.mode != "RGB":
                raise ValueError(f"its colours are {image.mode}, not RGB")
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # PIL raises all of these
        yield UserError(
            f"a broken image: {error}"[:200], where=str(entry.file(names.CONTACT_SHEET)), hint=RESUBMIT
        )


def faults(entry: Entry) -> Iterator[tuple[str, UserError]]:
    """(check, fault) of everything that is wrong with an entry, in the order of CHECKS."""
    failed: set[str] = set()  # checks that found a fault, or that were not run
    for check in CHECKS:
        if failed.intersection(check.after):
            failed.add(check.name)
            continue
        for fault in _raised(check, entry):
            failed.add(check.name)
            yield check.name, fault


def _raised(check: EntryCheck, entry: Entry) -> Faults:
    try:
        yield from check.faults(entry)
    except Exception as error:  # an unforeseen error refuses the entry; the other checks still run
        yield as_fault(error, entry.folder)


def as_fault(error: Exception, folder: Path) -> UserError:
    """The fault of an entry that made a check fail: whatever breaks the checker is the entry's fault."""
    if isinstance(error, UserError):
        return error
    return UserError(
        f"this check failed: {type(error).__name__}: {error}"[:300],
        where=str(folder),
        hint="submit the files as the run wrote them; if they are, this is a bug of ril-bench: report it",
    )


SAFE = ("files", "opens", "parses")
RUN = (*SAFE, "record", "addressed", "sequence")
SCORES = (*RUN, "bounds", "rows")
CHECKS = (
    EntryCheck("files", files),
    EntryCheck("opens", opens, ("files",)),
    EntryCheck("adapter", adapters.opening, ("files",)),
    EntryCheck("parses", parses, ("files", "opens")),
    EntryCheck("digests", digests, SAFE),
    EntryCheck("record", record, SAFE),
    EntryCheck("addressed", addressed, (*SAFE, "record")),
    EntryCheck("official", official, (*SAFE, "record")),
    EntryCheck("sequence", sequence, (*SAFE, "record", "addressed", "official")),
    EntryCheck("oracle", oracle, (*SAFE, "record", "addressed")),
    EntryCheck("adapter's layers", adapters.fitting, (*RUN, "adapter")),
    EntryCheck("images", images, RUN),
    EntryCheck("complete", complete, RUN),
    EntryCheck("calibrated", calibrated, RUN),
    EntryCheck("options", option_values.of_method, RUN),
    EntryCheck("options of the tuners", option_values.of_tuners, RUN),
    EntryCheck("costs", bounds.costs, (*RUN, "complete", "adapter's layers")),
    EntryCheck("ranges", bounds.images, (*RUN, "images")),
    EntryCheck("bounds", bounds.scores, (*RUN, "calibrated")),
    EntryCheck("rows", score_rows.of_steps, RUN),
    EntryCheck("rows between updates", score_rows.between_updates, (*RUN, "complete")),
    EntryCheck("row 0", row_zero, SCORES),
    EntryCheck("matrix", matrix_csv, SCORES),
    EntryCheck("metrics", metrics_json, (*SCORES, "complete", "calibrated", "rows between updates")),
    EntryCheck("sheet", sheet, SAFE),
)
