"""A run's contact sheet: a row a step, a column a prompt, from the same latents; one small PNG."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from ril_bench.errors import UserError
from ril_bench.reporting.film import choose
from ril_bench.storage.read import StoredRun

LARGEST = 128  # pixels of an image


def contact_sheet(run: StoredRun) -> bytes:
    """The sheet of a run's own images; UserError where it has none."""
    steps = [found for _, found in sorted(run.images.items())]
    if not steps:
        raise UserError("the run has no images", where=str(run.folder), hint="run it again, and keep them")
    shown, _ = choose(sorted({prompt_id for prompt_id, _ in steps[0]}), {})
    tiles = [[_tile(found[prompt_id, 0]) for prompt_id in shown] for found in steps]
    width, height = tiles[0][0].size
    whole = Image.new("RGB", (width * len(shown), height * len(steps)))
    for i, row in enumerate(tiles):
        for j, tile in enumerate(row):
            whole.paste(tile, (j * width, i * height))
    file = io.BytesIO()
    whole.save(file, "PNG", optimize=True)
    return file.getvalue()


def _tile(path: Path) -> Image.Image:
    with Image.open(path, formats=["PNG"]) as image:
        tile = image.convert("RGB")
    tile.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return tile
