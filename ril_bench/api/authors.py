"""The verbs of authors: new and check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ril_bench import registry

if TYPE_CHECKING:
    from ril_bench.conformance.method import Finding
    from ril_bench.leaderboard.check import Verdict


def new(kind: str, name: str) -> Path:
    """Writes a working file to start from into the current folder, and returns it.

    Raises UserError for a kind that has no such file, or where the file exists already.
    """
    from ril_bench.conformance.scaffold import new_method

    return new_method(name)


def check(
    target: str | Path, *, resample: int = 0, record: str | Path | None = None, since: str | None = None
) -> list[Finding] | list[Verdict]:
    """Checks a method, a sequence, a tuner or a reward, or the entries of a leaderboard in a folder.

    Args:
        target: a name, or the path of a file or a folder.
        resample: entries only: regenerate this number of images of each, and score them.
        record: entries only: a file that keeps what was regenerated, for the site.
        since: entries only: a git revision; only what was added after it is checked, and changes are refused.

    Returns one finding for each check of a file, or one verdict for each entry.

    Raises UserError where there is nothing to check.
    """
    if Path(target).is_dir():
        return list(check_entries(Path(target), resample=resample, record=record, since=since))
    return list(check_file(str(target)))


def check_file(reference: str) -> Iterator[Finding]:
    """The findings on a method, a sequence, a tuner or a reward, each as soon as its check has run."""
    from ril_bench.conformance.method import check_method

    if (registry.is_path(reference) and reference.endswith(".py")) or reference in registry.names("method"):
        yield from check_method(reference)
    else:
        yield from _check_sequence(reference)


def _check_sequence(reference: str) -> Iterator[Finding]:
    import torch

    from ril_bench.conformance.method import Finding
    from ril_bench.running.materials import Materials
    from ril_bench.sequences.calibrations import load_calibration
    from ril_bench.sequences.sequence_file import load_sequence

    spec = load_sequence(reference)
    materials = Materials.load(spec, torch.device("cpu"))
    materials.check_tuners()
    yield Finding(f"{spec.name} version {spec.version}: {' -> '.join(spec.order)}")
    yield Finding(f"{len(materials.weights)} weight files; {len(materials.eval_prompts)} evaluation prompts")
    calibration = load_calibration(spec)
    lacking = [name for name in spec.order if calibration is None or name not in calibration.rewards]
    yield Finding(
        f"no calibration for {', '.join(lacking)}: metrics will be in z" if lacking else "calibrated"
    )


def check_entries(
    folder: Path, *, resample: int = 0, record: str | Path | None = None, since: str | None = None
) -> Iterator[Verdict]:
    """The verdicts on the entries in a folder, each as soon as it is known; see `check`."""
    from ril_bench.leaderboard.check import check
    from ril_bench.leaderboard.checked import note

    verdicts = []
    for verdict in check(folder, resample=resample, since=since):
        verdicts.append(verdict)
        yield verdict
    if record is not None:
        note(Path(record), verdicts)
