"""Complete runs that the tests of this folder share. No test may change their results."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.running.stopping import RID
from tests.tiny import results, runner


@pytest.fixture(scope="session")
def finished(tiny_sequence, tmp_path_factory) -> Path:
    """The folder of a complete run that nothing interrupts, with its cost."""
    return runner(tiny_sequence, tmp_path_factory.mktemp("finished"), account=True).execute()


@pytest.fixture(scope="session")
def straight(tiny_sequence, tmp_path_factory) -> dict[str, bytes]:
    """The results of a long RID run that nothing interrupts."""
    return results(runner(tiny_sequence, tmp_path_factory.mktemp("straight"), **RID).execute())
