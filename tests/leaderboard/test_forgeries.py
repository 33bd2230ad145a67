"""Forged entries gain no rank: a check refuses them, or their level says that nobody verified them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ril_bench.leaderboard.check import ALL, NOTHING_AGAIN, Checker, Verdict, check
from tests.leaderboard.forgeries import FORGERIES, NOTHING, RERUN, RESAMPLE, Forgery
from tests.leaderboard.tampering import entry

RESAMPLED = Checker(resample=ALL)
RETRAINED = Checker(rerun="shipped")


def found(place: Path, checker: Checker) -> list[Verdict]:
    return list(check(place, checker=checker))


def names(verdicts: list[Verdict]) -> set[str]:
    return {one.check for verdict in verdicts for one in verdict.faults}


@pytest.mark.slow
@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_a_forgery_gains_no_rank(board: Path, forgery: Forgery) -> None:
    place = forgery.forge(board) or entry(board, 1)
    stated = found(board, NOTHING_AGAIN)
    if forgery.found_by not in (RESAMPLE, RERUN, NOTHING):
        assert forgery.found_by in names(stated)
        return
    # The files are consistent, so they are accepted; but a level that anybody can reach has no rank.
    assert names(stated) == set()
    assert {verdict.level for verdict in stated if verdict.entry} == {"stated"}
    if forgery.found_by == RESAMPLE:
        assert RESAMPLE in names(
            found(entry(board), RESAMPLED)
        )  # the first seed; the others are forged alike
    elif forgery.found_by == RERUN:
        again = found(place, RETRAINED)
        assert RERUN in names(again)
        assert not any(verdict.valid for verdict in again if verdict.entry)


def test_the_list_is_that_of_the_forgeries_that_were_tried() -> None:
    assert len(FORGERIES) >= 54
    assert len({forgery.name for forgery in FORGERIES}) == len(FORGERIES)
