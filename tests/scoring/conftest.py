"""A run folder for the tests of scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.scoring.by_hand import write_run


@pytest.fixture
def hand_made(tmp_path: Path, tiny_data: dict[str, Any]) -> Path:
    return write_run(tmp_path / "run", tiny_data)
