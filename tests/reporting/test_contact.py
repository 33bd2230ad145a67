"""The grid of a run's images: a row a step, a column a prompt, each tile the stored image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ril_bench.errors import UserError
from ril_bench.reporting.contact import image_grid
from ril_bench.storage.read import read_run
from tests.reporting.synthetic import write_run


def test_each_tile_is_the_stored_image(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", prompts=3, pixels=16, updates=1))
    grid = np.asarray(image_grid(run, steps=[0, 3]))
    assert grid.shape == (2 * 16, 3 * 16, 3)
    for i, step in enumerate((0, 3)):
        for j in range(3):
            stored = Image.open(run.folder / f"step-{step}" / "images" / f"{j:03d}-0.png")
            assert (grid[16 * i : 16 * (i + 1), 16 * j : 16 * (j + 1)] == np.asarray(stored)).all()
    assert image_grid(run, prompts=2, largest=8).size == (2 * 8, 4 * 8)


def test_a_step_without_images_is_refused(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", tasks=1, prompts=2, pixels=16, updates=1))
    with pytest.raises(UserError, match="no images of these steps") as error:
        image_grid(run, steps=[2])
    assert "steps with images: 0, 1" in str(error.value.hint)
