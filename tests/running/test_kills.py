"""Runs that are killed with SIGKILL end as if nothing had happened.

`make kill` tries a hundred moments, in the embedded world.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.running.kills import Case, differences


@pytest.mark.slow
@pytest.mark.parametrize("case", [Case("rid", "dpo"), Case("naive", "draft", processes=2)], ids=str)
def test_a_killed_run_is_completed_to_the_same_bytes_and_calls(
    case: Case, tiny_sequence: str, tmp_path: Path
) -> None:
    kills, other = differences(replace(case, sequence=tiny_sequence), tmp_path, seed=0, times=2)
    assert other == []
    assert kills >= 1
