"""The table of published files."""

from __future__ import annotations

import pytest

from ril_bench import registry
from ril_bench.remote.published import FILES, MODELS, published
from ril_bench.worlds.table import REAL


def test_the_table_names_each_user_of_a_file() -> None:
    for name in registry.names("reward", REAL):
        files = set(registry.load("reward", name, REAL).weights)
        assert files == {file for file in FILES if name in file.used_by}, name


def test_the_table_is_well_formed() -> None:
    assert len({file.name for file in FILES}) == len({file.url for file in FILES}) == len(FILES)
    for file in FILES:
        assert file.sha256 is None or (len(file.sha256) == 64 and int(file.sha256, 16))
        assert file.revision is None or (len(file.revision) == 40 and int(file.revision, 16))
        assert file.revision or not file.on_hub
        assert file.used_by
    with pytest.raises(KeyError, match="did you mean 'hpsv2"):
        published("hpsv3")


def test_every_weight_file_of_a_model_is_pinned() -> None:
    for repo, files in MODELS.items():
        assert {file.repo for file in files} == {repo}
        assert {file.file.partition("/")[0] for file in files} >= {"unet", "vae", "text_encoder"}
        for file in files:
            assert len(file.revision or "") == 40
            assert len(file.sha256 or "") == 64
            assert file.size
            assert file.licence
        assert len({file.sha256 for file in files}) == len(files)
