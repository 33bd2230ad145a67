"""The page of one run."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from ril_bench.reporting.collapse import MEANING, collapsed_steps, reasons, step_label
from ril_bench.reporting.film import SHEET, Images, film_strip
from ril_bench.reporting.headline import headline
from ril_bench.reporting.matrices import heatmaps, matrix_table
from ril_bench.reporting.render import render
from ril_bench.reporting.settings import conventions, fid_convention, hardware, options, sequence_settings
from ril_bench.reporting.trained_tasks import trained_tasks
from ril_bench.reporting.trends import Panels, per_step_table, reward_curves, scale_plots, trends
from ril_bench.running.progress import Reporter
from ril_bench.storage.files import write_files
from ril_bench.storage.names import PAGE
from ril_bench.storage.read import StoredRun, common_scale, read_whole_run


def write_page(run_folder: Path) -> Path:
    """Writes <run_folder>/report.html from the files of the folder, and returns its path.

    Only run.json has to exist: a run that failed, or has one task or no calibration, has a page too. The same files
    give the same bytes. Raises UserError where a file cannot be read.
    """
    run = read_whole_run(run_folder)
    path = run.folder / PAGE
    write_files({path: run_page(run, Images())})
    return path


def write_page_after_run(run_folder: Path) -> Path | None:
    """Writes the page of a run that has just ended. A page that fails is reported on stderr, and None is returned.

    The run is stored by then, and `ril-bench report` writes the page again: a page must not lose a run.
    """
    try:
        return write_page(run_folder)
    except Exception as error:
        Reporter().say(
            f"the run is stored, but its page was not written: {error}\n  hint: ril-bench report {run_folder}"
        )
        return None


def run_page(run: StoredRun, images: Images, home: str | None = None) -> bytes:
    """The bytes of the page; `home` is the link to the site that the page belongs to."""
    scale = common_scale([run])
    # No check covers an entry's notes, conventions and scales: a stranger's words under a maintainer's verdict.
    ours = run.entry is None
    return render(
        "run.html",
        home=home,
        run=run,
        # Keys that an unfinished run has not written are None; a misspelt variable of the template is an error.
        info=defaultdict(lambda: None, run.info),
        metrics=defaultdict(lambda: None, run.metrics),
        headline=headline(run, scale),
        scale=scale,
        strip=film_strip([run], images),
        sheet=images.embed(run.sheet, SHEET)[0] if run.sheet else None,
        heatmaps=heatmaps([run]),
        matrix=matrix_table(run),
        curves=reward_curves([run]),
        tasks=trained_tasks(run),
        trends=trends([run]),
        per_step=per_step_table(run),
        scales=scale_plots(run) if ours else Panels([], []),
        fid=fid_convention(run),
        collapsed=collapsed_steps(run),
        reasons=[*reasons(run), f"{MEANING}."] if collapsed_steps(run) else [],
        step_label=step_label,
        options=options(run),
        sequence=sequence_settings(run),
        notes=run.metrics.get("notes") or [] if ours else [],
        conventions=conventions(run) if ours else [],
        hardware=hardware(run),
    )
