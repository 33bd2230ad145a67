"""The page of one run."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from ril_bench.reporting.film import SHEET, Images, film_strip
from ril_bench.reporting.parts import headline, heatmaps, matrix_table, per_step_table, reward_curves, trends
from ril_bench.reporting.render import render
from ril_bench.storage.read import Run, common_scale, read_run
from ril_bench.storage.run_folder import write_files


def write_page(run_folder: Path) -> Path:
    """Write <run_folder>/report.html from the files of the folder, and return its path.

    Only run.json has to exist: a run that failed, has one task or no calibration has a page too. The same
    files give the same bytes. UserError where a file cannot be read.
    """
    run = read_run(run_folder)
    path = run.folder / "report.html"
    write_files({path: run_page(run, Images())})
    return path


def run_page(run: Run, images: Images, home: str | None = None) -> bytes:
    """The page's bytes; `home` is a link to the site that it is a part of."""
    scale = common_scale([run])
    return render(
        "run.html",
        home=home,
        run=run,
        # Keys that a run cut short did not come to write are None; a misspelt variable is still an error.
        info=defaultdict(lambda: None, run.info),
        metrics=defaultdict(lambda: None, run.metrics),
        headline=headline(run, scale),
        scale=scale,
        strip=film_strip([run], images),
        sheet=images.embed(run.sheet, SHEET)[0] if run.sheet else None,
        heatmaps=heatmaps([run]),
        matrix=matrix_table(run),
        curves=reward_curves([run]),
        trends=trends([run]),
        per_step=per_step_table(run),
        spec=json.dumps(run.info.get("sequence"), indent=1, ensure_ascii=False),
    )
