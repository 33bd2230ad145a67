"""Complete runs that the tests of this folder share, whose results no test may change, and a guard of torch's state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ril_bench.machine.global_state import GlobalState
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


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """A failed run leaves torch as it was."""
    torch.set_num_threads(1)  # the runs' number
    before = GlobalState()
    yield
    cannot_be_set = ("inference mode", "warnings that are errors")
    try:
        assert [
            change for change in before.changes() if not any(map(change.__contains__, cannot_be_set))
        ] == []
    finally:
        before.restore()
