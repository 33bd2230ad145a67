"""The world of the leaderboard's tests, made once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ril_bench import registry
from ril_bench.running.materials import Materials
from ril_bench.sequences.spec import Sequence
from tests.leaderboard import world


@pytest.fixture(scope="session")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sequences that ship, and `tiny-shapes`."""
    folder = tmp_path_factory.mktemp("shipped") / "tasks"
    shutil.copytree(registry.shipped("tasks"), folder)
    with pytest.MonkeyPatch.context() as patch:
        world.install(folder, patch)
        world.write_sequences(folder)
    return folder


@pytest.fixture(autouse=True)
def installed(sequences: Path) -> Iterator[None]:
    """They ship, for as long as a test runs."""
    with pytest.MonkeyPatch.context() as patch:
        world.install(sequences, patch)
        yield


@pytest.fixture(scope="session")
def known_materials() -> dict[str, Materials]:
    """Materials by the digest of their sequence."""
    return {}


@pytest.fixture(autouse=True)
def loaded_once(known_materials: dict[str, Materials], monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of one sequence share its model and rewards, which take seconds to load."""
    load = Materials.load

    def loaded(sequence: Sequence, device: torch.device) -> Materials:
        if sequence.sha256 not in known_materials:
            known_materials[sequence.sha256] = load(sequence, device)
        return known_materials[sequence.sha256]

    monkeypatch.setattr("ril_bench.leaderboard.resample.load_materials", loaded)


@pytest.fixture(scope="session")
def honest(sequences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard with an honest method's three seeds; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        world.install(sequences, patch)
        return world.honest(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def board(honest: Path, tmp_path: Path) -> Path:
    """A copy of it, to be tampered with."""
    shutil.copytree(honest, tmp_path / "leaderboard")
    return tmp_path / "leaderboard"
