"""A run's images in one image: a row for each step, a column for each prompt, from the same latents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ril_bench.errors import UserError
from ril_bench.reporting.film import PROMPTS, choose
from ril_bench.storage.images import read_image
from ril_bench.storage.read import StoredRun

LARGEST = 128  # pixels of one image in the grid


def image_grid(
    run: StoredRun, steps: Sequence[int] | None = None, prompts: int = PROMPTS, largest: int = LARGEST
) -> Image.Image:
    """The grid as an RGB image; the first sample of prompts that are spread evenly over the evaluation's.

    Args:
        steps: None is all steps that have images.
        prompts: columns at most.
        largest: the longer side of one image; larger images are shrunk, smaller ones stay.

    Raises UserError where a step has no images.
    """
    found = run.images
    shown = sorted(found) if steps is None else list(steps)
    if not shown or not set(shown) <= set(found):
        have = ", ".join(map(str, sorted(found))) or "none"
        raise UserError(
            "the run has no images of these steps" if shown else "the run has no images",
            where=str(run.folder),
            hint=f"steps with images: {have}; run the sequence again, and keep its step folders",
        )
    columns, _ = choose(sorted({prompt_id for prompt_id, _ in found[shown[0]]}), {}, prompts)
    tiles = [[_tile(found[step][prompt_id, 0], largest) for prompt_id in columns] for step in shown]
    width, height = tiles[0][0].size
    grid = Image.new("RGB", (width * len(columns), height * len(shown)))
    for i, row in enumerate(tiles):
        for j, tile in enumerate(row):
            grid.paste(tile, (j * width, i * height))
    return grid


def _tile(path: Path, largest: int) -> Image.Image:
    tile = read_image(path).convert("RGB")
    tile.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return tile
