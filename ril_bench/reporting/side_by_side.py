"""The page that sets a few runs of one sequence side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from ril_bench.errors import UserError
from ril_bench.reporting.collapse import collapsed_steps
from ril_bench.reporting.film import SHEET, Images, film_strip
from ril_bench.reporting.headline import headline
from ril_bench.reporting.matrices import heatmaps
from ril_bench.reporting.render import render
from ril_bench.reporting.trends import reward_curves, trends
from ril_bench.storage.files import write_files
from ril_bench.storage.names import PAGE
from ril_bench.storage.read import StoredRun, common_scale, dig, read_whole_run


def write_side_by_side(run_folders: Sequence[Path], out: Path) -> Path:
    """Write the page `out` that compares a few runs of one sequence, in the order given, and return its path.

    It links to each run's own report.html. UserError where the runs were not asked the same: other tasks, or
    other evaluation prompts.
    """
    runs, out = [read_whole_run(folder) for folder in run_folders], Path(out)
    links = [relative_link(run.folder / PAGE, out.parent) for run in runs]
    write_files({out: side_by_side(runs, links, Images())})
    return out


def side_by_side(
    runs: Sequence[StoredRun], links: Sequence[str], images: Images, home: str | None = None
) -> bytes:
    """The page's bytes; `links` lead to the runs' own pages, `home` to the site's first page."""
    if not runs:
        raise UserError("no run to compare", hint="give at least one run folder")
    for run in runs[1:]:
        if what := asked_otherwise(run, runs[0]):
            raise UserError(
                f"runs of different {what} cannot be set side by side",
                where=f"{run.folder} and {runs[0].folder}",
                hint="compare runs of one sequence and one order",
            )
    names = run_names(runs)
    return render(
        "side.html",
        home=home,
        runs=runs,
        names=names,
        links=links,
        collapsed=[collapsed_steps(run) for run in runs],
        timed=any(dig(run.info, "cost") for run in runs),
        headlines=[headline(run, common_scale(runs)) for run in runs],
        strip=film_strip(runs, images, names),
        sheets=[
            (name, images.embed(run.sheet, SHEET)[0])
            for name, run in zip(names, runs, strict=True)
            if run.sheet
        ],
        heatmaps=heatmaps(runs, names),
        curves=reward_curves(runs, names),
        trends=trends(runs, names),
    )


def asked_otherwise(run: StoredRun, other: StoredRun) -> str | None:
    """What two runs were asked that differs, so that their images are of other things; None where nothing is."""
    if run.rewards != other.rewards:
        return "tasks"
    return "evaluation prompts" if run.prompts != other.prompts else None


def relative_link(path: Path, start: Path) -> str:
    """A relative link; "./" and quoting keep a folder's name from being a scheme, a query or an anchor."""
    return "./" + quote(Path(os.path.relpath(path, start)).as_posix())


def run_names(runs: Sequence[StoredRun]) -> list[str]:
    """What tells the runs apart: the method, and where that is not enough the tuner and the seed too."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.name} · {run.tuner} · seed {run.seed}" for run in runs]
    if len(set(names)) < len(names):
        names = [f"{i}: {name}" for i, name in enumerate(names, 1)]
    return names
