"""The contact sheet of an entry: the grid of a run's images as one small WebP."""

from __future__ import annotations

import io

from ril_bench.reporting.contact import image_grid
from ril_bench.storage.read import StoredRun

#: no difference to see on images of 64 pixels, at a tenth of the bytes of a PNG
QUALITY = 85


def contact_sheet(run: StoredRun) -> bytes:
    """The sheet of a run's own images. Raises UserError where the run has none."""
    file = io.BytesIO()
    image_grid(run).save(file, "WEBP", quality=QUALITY, method=6)
    return file.getvalue()
