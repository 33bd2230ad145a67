"""Fixtures for the tests of tuners."""

import numpy as np
import pytest
from PIL import Image

from tests.pipelines import PIXELS
from tests.tiny import PROMPTS


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder of noise, with the tiny prompts."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(len(PROMPTS)):
        noise = rng.integers(0, 256, (PIXELS, PIXELS, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    rows = [f"{number}.png,{prompt}" for number, prompt in enumerate(PROMPTS)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,prompt", *rows]))
    return folder
