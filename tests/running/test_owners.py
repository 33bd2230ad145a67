"""Failures of a method's code: run.json and the message name the method, its line and its hook."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import pytest

from ril_bench.errors import BugError, MethodError, RewardError, RilError, UserError, error_of
from ril_bench.running.owners import Owner, bug, owned, owners
from ril_bench.sequences.sequence_file import load_sequence
from tests.running.stopping import status
from tests.tiny import runner, write_sequence

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
    "raise ValueError('\\ud83d')": "failed: ValueError: ? (in end_task)",
    "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})": "failed: Odd (in end_task)",
}


@pytest.mark.parametrize("code", WHAT)
def test_a_failure_of_a_method_is_the_methods(tiny_sequence: str, tmp_path: Path, code: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(METHOD.replace("HERE", code))
    failing = runner(tiny_sequence, tmp_path / "out", str(file), settings=["budget.updates=1"])
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


def test_each_file_of_code_has_its_owner(tiny_sequence: str, tmp_path: Path) -> None:
    """Rewards and tuners that ship have none."""
    method = tmp_path / "mine.py"
    method.write_text("import helper\nfrom ril_bench import Method\nclass Mine(Method): pass\n")
    (tmp_path / "helper.py").touch()
    found = owners(load_sequence(tiny_sequence), str(method))
    mine = Owner("method", str(method))
    assert found == {method.resolve(): mine, (tmp_path / "helper.py").resolve(): mine}


REWARD = """
from ril_bench import Reward
class Mine(Reward):
    name, unit = "mine", "levels"
    def __init__(self, device="cpu"):
        super().__init__(device)
        HERE
    def score(self, images, prompts):
        HERE
        return images.mean((1, 2, 3))
"""


@pytest.mark.parametrize("hook", ["__init__", "score"])
def test_a_failure_of_a_reward_is_the_rewards(tiny_data: dict[str, Any], tmp_path: Path, hook: str) -> None:
    parts = REWARD.split("HERE")
    file = tmp_path / "mine.py"
    file.write_text(
        parts[0] + ("{}['x']" if hook == "__init__" else "pass") + parts[1]
        + ("{}['x']" if hook == "score" else "pass") + parts[2]
    )  # fmt: skip
    sequence = write_sequence(tmp_path / "mine.yaml", tiny_data, tasks=[{"reward": str(file)}])
    failing = runner(sequence, tmp_path / "out")
    with pytest.raises(RewardError, match=rf"the reward mine failed: KeyError: 'x' \(in {hook}\)") as caught:
        failing.execute()
    assert str(caught.value.where).startswith(f"{file}:")
    assert status(failing.folder.path)["failure"]["class"] == "reward"


@pytest.mark.parametrize("content", ["version https://git-lfs.github.com/spec/v1\n", None])
def test_weights_of_a_reward_that_are_not_there(
    tiny_data: dict[str, Any], tmp_path: Path, content: str | None
) -> None:
    lines = ["from pathlib import Path", "from ril_bench import Reward", "class Mine(Reward):"]
    lines += [
        "    def score(self, images, prompts): pass",
        "    name, unit = 'mine', 'levels'",
        f"    weights = (Path({str(tmp_path / 'own.pt')!r}),)",
    ]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    if content:
        (tmp_path / "own.pt").write_text(content)
    tasks = [{"reward": str(tmp_path / "mine.py")}]
    with pytest.raises(UserError, match=r"pointer of Git LFS|there is no file own\.pt") as caught:
        runner(write_sequence(tmp_path / "mine.yaml", tiny_data, tasks=tasks), tmp_path / "out").execute()
    assert caught.value.where == str(tmp_path / "own.pt")


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("def __init__(self): pass\n    name, unit = 'mine', 'levels'", "def __init__(self, device"),
        ("name = 'mine'", "unit = "),
        ("unit = 'levels'", "name = "),
    ],
)
def test_a_class_of_a_reward_that_is_not_complete(
    tiny_data: dict[str, Any], tmp_path: Path, body: str, hint: str
) -> None:
    (tmp_path / "mine.py").write_text(f"from ril_bench import Reward\nclass Mine(Reward):\n    {body}\n")
    tasks = [{"reward": str(tmp_path / "mine.py")}]
    with pytest.raises(RewardError, match="the class of the reward mine is not complete") as caught:
        runner(write_sequence(tmp_path / "mine.yaml", tiny_data, tasks=tasks), tmp_path / "out").execute()
    assert hint in str(caught.value.hint)
    assert str(caught.value.where) == f"{tmp_path / 'mine.py'}, class Mine"


@pytest.mark.parametrize("value", ["None", "object()"])
def test_streams_that_a_method_replaces_are_restored(tiny_sequence: str, tmp_path: Path, value: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(METHOD.replace("HERE", f"sys.stdout = sys.stderr = {value}"))
    before = sys.stdout, sys.stderr
    runner(tiny_sequence, tmp_path / "out", str(file)).execute()
    assert (sys.stdout, sys.stderr) == before


def test_a_failure_before_the_run_is_the_methods(tiny_sequence: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from ril_bench import Method\nclass Mine(Method):\n    def plan(self, tasks, i):\n        return tasks[9]\n"
    )
    with pytest.raises(MethodError, match=r"failed: IndexError.*\(in plan\)") as caught:
        runner(tiny_sequence, tmp_path / "out", str(file))
    assert caught.value.where == f"{file}:4"


def test_a_failure_of_a_tuner_is_the_tuners(tiny_data: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from ril_bench.tuners.draft import Draft\nclass Mine(Draft):\n"
        "    def after_update(self, model):\n        1 / 0\n"
    )
    sequence = write_sequence(tmp_path / "mine.yaml", tiny_data, tuner={"name": str(file)})
    failing = runner(sequence, tmp_path / "out")
    with pytest.raises(MethodError, match=r"the tuner mine failed: ZeroDivisionError.*\(in after_update\)"):
        failing.execute()
    assert status(failing.folder.path)["failure"]["class"] == "method"


@pytest.mark.parametrize(
    "kind", ["user", "method", "reward", "sequence", "numerical", "memory", "infrastructure", "bug"]
)
def test_an_error_of_another_process_keeps_its_kind(kind: str) -> None:
    error = error_of(kind, "what")
    assert isinstance(error, RilError)
    assert (error.kind, error.what) == (kind, "what")
