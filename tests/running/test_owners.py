"""Failures of a method's code: run.json and the message name the method, its line and its hook."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ril_bench.errors import BugError, MethodError, RewardError, RilError, UserError, error_of
from ril_bench.running.owners import Owner, bug, owned, owners_of
from tests.running.stopping import status
from tests.tiny import runner

METHOD = """
import os, sys
from ril_bench import Method

class Mine(Method):
    def start_task(self, task, model):
        model.add_adapter(f"a{task.index}", seed_key=task.key)
        model.activate({f"a{task.index}": 1.0}, train=[f"a{task.index}"])

    def end_task(self, task, model):
        HERE
"""
WHAT = {
    "raise ValueError('not so')": "failed: ValueError: not so (in end_task)",
    "task.nothing": "failed: AttributeError",
    "model.activate({'nobody': 1.0})": "failed: ",
    "sys.exit(0)": "ended the process (in end_task)",
    "os._exit(0)": "ended the process (in end_task)",
    "raise GeneratorExit": "failed: GeneratorExit (in end_task)",
    "raise BaseException('odd')": "failed: BaseException: odd (in end_task)",
    "raise OSError('no file of mine')": "failed: OSError: no file of mine",
}


@pytest.mark.parametrize("code", WHAT)
def test_a_failure_of_a_method_is_the_methods(tiny_sequence: str, tmp_path: Path, code: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(METHOD.replace("HERE", code))
    failing = runner(tiny_sequence, tmp_path / "out", str(file))
    with pytest.raises(MethodError) as caught:
        failing.execute()
    error = caught.value
    assert WHAT[code] in error.what
    assert error.where == f"{file}:11"
    assert error.exit_code == 2
    failure = status(failing.folder.path)["failure"]
    assert failure["class"] == "method"
    assert "end_task" in failure["traceback"]


@pytest.mark.parametrize(
    "code", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise KeyError('x')", "1 +"]
)
def test_a_method_that_fails_when_it_is_imported(tiny_sequence: str, tmp_path: Path, code: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"{code}\n")
    with pytest.raises(MethodError, match=r"mine\.py cannot be imported") as caught:
        runner(tiny_sequence, tmp_path / "out", str(file))
    assert caught.value.where == f"{file}:1"
    assert caught.value.hint


def raised(error: BaseException) -> BaseException:
    """An exception with a traceback through this file."""
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_exception_belongs_to_the_innermost_owner() -> None:
    of_files = {Path(__file__): Owner("reward", "mine")}
    assert isinstance(owned(raised(ValueError("x")), of_files), RewardError)
    assert isinstance(owned(raised(ValueError("x")), {}), BugError)
    for kept in (UserError("x"), MemoryError(), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()):
        assert owned(raised(kept), of_files if not isinstance(kept, KeyboardInterrupt) else {}) is kept
    assert isinstance(owned(raised(OSError("not found")), {}), OSError)


def test_a_bug_says_how_to_report_it() -> None:
    error = bug(raised(KeyError("x")))
    assert (error.kind, error.exit_code) == ("bug", 1)
    assert "issues" in str(error)
    assert "run.json" in str(error)


def test_code_of_this_package_has_no_owner() -> None:
    from ril_bench.rewards.pixels import Brightness

    assert owners_of([("reward", "brightness", Brightness())]) == {}


@pytest.mark.parametrize(
    "kind", ["user", "method", "reward", "sequence", "numerical", "memory", "infrastructure", "bug"]
)
def test_an_error_of_another_process_keeps_its_kind(kind: str) -> None:
    error = error_of(kind, "what")
    assert isinstance(error, RilError)
    assert (error.kind, error.what) == (kind, "what")
