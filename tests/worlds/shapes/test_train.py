"""The training recipe of the embedded world, end to end at toy size."""

from __future__ import annotations

import json

import pytest

from ril_bench.remote.weights import MANIFEST, verified
from ril_bench.worlds.shapes import WEIGHTS
from ril_bench.worlds.shapes.train import __main__ as train
from ril_bench.worlds.shapes.train.common import Recipe


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_every_stage_writes_the_files_that_ship(tmp_path, capsys):
    """Two updates on a few images for each stage.

    The last stage loads all weights as a run does, and measures them.
    """
    folder = tmp_path / "weights"
    train.main(["--out", str(folder), "--scale", "0.0005"])
    assert files(folder) >= files(WEIGHTS)
    assert set(json.loads((folder / MANIFEST).read_text())) >= set(
        json.loads((WEIGHTS / MANIFEST).read_text())
    )
    verified(folder / "pipeline")
    verified(folder / "pipeline-flow")
    measured, shipped = (json.loads((place / "quality.json").read_text()) for place in (folder, WEIGHTS))
    assert measured.keys() >= shipped.keys()
    size = "generator: denoiser weights, millions"
    assert measured[size] == shipped[size]
    logged = {json.loads(line)["stage"] for line in (folder / "training.jsonl").read_text().splitlines()}
    assert logged == set(train.STAGES) - {"quality"}
    assert capsys.readouterr().out


def test_an_unknown_stage_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(["decodre", "--out", str(tmp_path)])
    assert "no stage is called decodre; there are: autoencoder, decoder" in capsys.readouterr().err


def test_the_full_recipe_is_not_scaled(tmp_path):
    assert Recipe(tmp_path).scaled(8000) == 8000
    assert Recipe(tmp_path, scale=0.001).scaled(8000) == 8
    assert Recipe(tmp_path, scale=0.001).scaled(16, least=1) == 1
