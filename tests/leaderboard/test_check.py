"""An honest leaderboard is valid; one that was tampered with is refused for that reason."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ril_bench.api.authors import check_entries
from ril_bench.cli import main
from ril_bench.errors import UserError
from ril_bench.leaderboard.board import read_board
from ril_bench.leaderboard.check import NOTHING_AGAIN, Checker, check
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.rules import EntryCheck
from tests.leaderboard.forging import called, under
from tests.leaderboard.tampered import CASES, RESAMPLED, Case
from tests.leaderboard.tampering import entry, pandas_index, seal


def found(board: Path, checker: Checker = NOTHING_AGAIN) -> list[tuple[str, str]]:
    """(check, fault) of all that is wrong."""
    return [(one.check, str(one.fault)) for v in check(board, checker=checker) for one in v.faults]


def apply(case: Case, board: Path) -> None:
    folder = entry(board)
    case.tamper(folder)
    if case.sealed and folder.is_dir():
        seal(folder)


def test_the_honest_stand(honest: Path) -> None:
    verdicts = list(check(honest))
    assert [verdict.faults for verdict in verdicts] == [()] * 4  # three seeds and their method
    places = [verdict.place for verdict in verdicts]
    assert places[0].startswith("naive/")
    assert places[0].endswith("/tiny-shapes/given/draft/seed-0")
    assert places[3].count("/") == 1


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_tampered_are_refused(board: Path, case: Case) -> None:
    apply(case, board)
    faults = found(board)
    assert any(name == case.check and case.message in fault for name, fault in faults), faults
    messages = [fault for name, fault in faults if name == case.check]
    assert all(str(board) in fault and "hint: " in fault for fault in messages)
    assert not Path("/tmp/owned-by-an-entry").exists()


@pytest.mark.parametrize("case", RESAMPLED, ids=lambda case: case.name)
def test_what_only_images_made_again_tell(board: Path, case: Case) -> None:
    apply(case, board)
    assert found(board) == []
    faults = found(entry(board), Checker(resample=3))
    assert any(name == case.check and case.message in fault for name, fault in faults), faults


def test_what_pandas_alone_would_read_changes_nothing(board: Path) -> None:
    pandas_index(entry(board))
    seal(entry(board))
    assert found(board) == []


def test_what_no_check_foresaw_refuses_that_entry_alone(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(entry: Entry) -> Iterator[UserError]:
        if entry.address.seed == 1:
            raise RuntimeError("a surprise")
        yield from ()

    monkeypatch.setattr("ril_bench.leaderboard.rules.CHECKS", (EntryCheck("x", fails),))
    assert [verdict.valid for verdict in check(board)] == [True, False, True, True]
    assert "RuntimeError: a surprise" in found(board)[0][1]


def test_each_fault_has_its_own_message() -> None:
    reasons = [(case.check, case.message) for case in (*CASES, *RESAMPLED)]
    twice = {one for one in reasons if reasons.count(one) > 1}
    assert twice <= {
        ("files", "a symbolic link"),
        ("opens", "not a WebP"),
        ("files", "a name that is not allowed in an entry"),
        ("sequence", "is not the one of its digest"),
    }
    assert len(reasons) >= 20


def test_all_faults_at_once(board: Path) -> None:
    first, second = CASES[1], next(case for case in CASES if case.name == "an adapter that is a pickle")
    for case in (first, second):
        case.tamper(entry(board))
    (entry(board, 1) / "x.py").write_text("print('never run')")
    assert {name for name, _ in found(board)} == {"matrix", "adapter", "digests", "files"}


@pytest.mark.parametrize("where", ["", "entries", "entries/naive", "seed"])
def test_any_folder_of_a_leaderboard_can_be_checked(honest: Path, where: str) -> None:
    target = entry(honest) if where == "seed" else honest / where
    assert len(list(check(target))) == (2 if where == "seed" else 4)


COPY = called("foresight", file="the same code, by another author")


def test_a_refused_revision_is_not_recorded(board: Path) -> None:
    """What is recorded counts as accepted: a copy that was recorded would pass as an original ever after."""
    COPY(board)
    for _ in range(2):
        verdicts = list(check_entries(board / "entries" / "foresight", record=board / "checked.json"))
        assert [one.check for verdict in verdicts for one in verdict.faults] == ["copies"]
        assert not any(verdict.stands for verdict in verdicts if verdict.entry)
    assert not (board / "checked.json").exists()


def test_a_record_is_refused_before_anything_is_computed(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no such folder"):
        next(check_entries(board, record=board / "none" / "checked.json"))
    assert not (board / "none").exists()
    monkeypatch.setattr("os.access", lambda place, mode: False)
    with pytest.raises(UserError, match="cannot be written"):
        next(check_entries(board, record=board / "checked.json"))


def test_a_record_that_fails_comes_after_all_verdicts(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise UserError("no space")

    monkeypatch.setattr("ril_bench.leaderboard.checked.write_files", full)
    found = []
    with pytest.raises(UserError, match="no space"):
        found.extend(check_entries(board, record=board / "checked.json"))
    assert [verdict.valid for verdict in found] == [True] * 4


def test_an_invalid_copy_refuses_nobody(board: Path) -> None:
    """Files that claim to be naive's, of a method whose own checks refuse them."""
    claim = board / "naive"
    shutil.copytree(board / "entries" / "naive", claim)
    called("foresight", file="my own code", beside=False)(board)
    shutil.move(claim, board / "entries" / "naive")
    for scores in (board / "entries" / "naive").rglob("scores.parquet"):
        scores.unlink()
    refused = {verdict.place.partition("/")[0] for verdict in check(board) if not verdict.valid}
    assert refused == {"naive"}


@pytest.mark.parametrize("valid", [False, True])
def test_seeds_that_are_refused_take_no_others_with_them(board: Path, valid: bool) -> None:
    """An order of one valid seed, or of one seed that is no entry, beside a whole order."""
    given = entry(board).parent
    if valid:
        other = (under(order="reversed")(board) or board).parent
        shutil.rmtree(other / "seed-0")
    else:
        other = given.parents[1] / "reversed" / "draft"
        (other / "seed-7").mkdir(parents=True)
        (other / "seed-7" / "run.json").write_text("{}")
    refused = [verdict.place for verdict in check(board) if not verdict.valid]
    place = other.relative_to(board / "entries").as_posix()
    assert refused == ([place] if valid else [f"{place}/seed-7"])
    runs, left_out = read_board(board)
    assert {run.folder for run in runs} == {given / f"seed-{k}" for k in range(3)}
    assert len(left_out) == 1


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a leaderboard"):
        list(check(tmp_path))
    (tmp_path / "entries").mkdir()
    with pytest.raises(UserError, match="no entry here"):
        list(check(tmp_path))


def test_a_stray_file_and_a_device_are_faults(board: Path) -> None:
    (board / "entries" / "README.md").write_text("hello")
    os.mkfifo(entry(board) / "run")
    faults = dict(found(board))
    assert "not a file of an entry: README.md" in faults["files"] or "neither a file" in faults["files"]
    assert any("neither a file nor a folder" in fault for _, fault in found(board))
    assert any("not a file of an entry: README.md" in fault for _, fault in found(board))


def verb(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr(sys, "argv", ["ril-bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_the_verb(
    honest: Path, board: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb(monkeypatch, "check", honest) == 0
    printed = capsys.readouterr().out
    assert "all checks passed" in printed
    assert printed.count("stated") == 3
    CASES[1].tamper(entry(board))
    assert verb(monkeypatch, "check", board, "--json") == 2
    faults = json.loads(capsys.readouterr().out)
    assert [one["valid"] for one in faults] == [False, True, True, True]
    assert {fault["check"] for fault in faults[0]["faults"]} == {"digests", "matrix"}
    assert all(fault["where"] and fault["hint"] for fault in faults[0]["faults"])
    assert verb(monkeypatch, "check", board) == 2
    assert "1 of 4 refused" in capsys.readouterr().out
