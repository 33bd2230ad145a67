"""The contact sheet of an entry: the grid of a run's images as one small PNG."""

from __future__ import annotations

import io

from ril_bench.reporting.contact import image_grid
from ril_bench.storage.read import StoredRun


def contact_sheet(run: StoredRun) -> bytes:
    """The sheet of a run's own images. Raises UserError where the run has none."""
    file = io.BytesIO()
    image_grid(run).save(file, "PNG", optimize=True)
    return file.getvalue()
