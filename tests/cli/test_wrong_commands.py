"""Commands that cannot be carried out. A wrong command ends with a message and exit code 2, a failure with another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ril_bench
from tests.tiny import write_sequence


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tasks": [{"reward": "brightnes"}]}, ["tasks.1.reward", "brightnes", "did you mean 'brightness'?"]),
        ({"modle": "x"}, ["modle", "unknown key", "did you mean 'model'?"]),
        ({"version": "one"}, ["version", "integer", "'one'"]),
        ({"version": True}, ["version", "integer", "True"]),
        (
            {"sampler": {"steps": 3, "guidance": 0.5, "eta": 1.0}},
            ["sampler.guidance", "greater than or equal to 1"],
        ),
        ({"sampler": {"steps": 3, "eta": 1.0}}, ["sampler.guidance", "missing"]),
        ({"tuner": {"name": "drafft"}}, ["tuner.name", "did you mean 'draft'?"]),
        ({"model": "shapes-46"}, ["model", "did you mean 'shapes-64'"]),
        ({"prompts": {"train": "shapes/trian", "eval": "shapes/eval"}}, ["prompts.train", "'shapes/train'"]),
        (
            {"prompts": {"train": "none.txt", "eval": "shapes/eval"}},
            ["prompts.train", "no prompts at", "none.txt"],
        ),
        (
            {"tasks": [{"reward": "brightness"}, {"reward": "brightness"}]},
            ["tasks.2.reward", "already the reward at"],
        ),
    ],
)
def test_a_faulty_sequence(refused, tiny_data, tmp_path, change, expected):
    sequence = write_sequence(tmp_path / "mine.yaml", tiny_data, **change)
    for arguments in (("check", sequence), ("run", sequence, "--method", "naive", "--out", tmp_path / "out")):
        message = refused(*arguments)
        assert f"{sequence}:" in message
        for words in expected:
            assert words in message
    assert not (tmp_path / "out").exists()


def test_all_faults_at_once_each_with_its_line(refused, tiny_data, tmp_path):
    tasks = [{"reward": "brightnes"}, {"reward": "symmetri"}]
    sequence = write_sequence(tmp_path / "mine.yaml", tiny_data, tasks=tasks, version=0, modle="x")
    message = refused("check", sequence)
    assert "4 faults" in message
    lines = Path(sequence).read_text().splitlines()
    for word in ("brightnes", "symmetri", "version", "modle"):
        number = next(i for i, line in enumerate(lines, 1) if word in line)
        assert f"{sequence}:{number}:" in message


def test_a_file_that_is_not_yaml(refused, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ntasks: [a, b\nversion: 1\n")
    message = refused("run", file, "--method", "naive")
    assert "not valid YAML" in message
    assert f"{file}:3:" in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "shapes-rli", "--method", "naive"), "did you mean 'shapes-ril"),
        (("run", "./none.yaml", "--method", "naive"), "no sequence at ./none.yaml"),
        (("run", "shapes-ril", "--method", "niave"), "did you mean 'naive'?"),
        (("run", "shapes-ril", "--method", "./none.py"), "no method at ./none.py"),
        (("run", "shapes-ril", "--method", "naive", "--tuner", "darft"), "did you mean 'draft'?"),
        (("run", "shapes-ril", "--method", "naive", "--set", "budget.update=3"), "did you mean 'updates'?"),
        (("run", "shapes-ril", "--method", "naive", "--set", "budget.updates"), "write it as key=value"),
        (("run", "shapes-ril", "--method", "naive", "--set", "method.x"), "sets nothing"),
        (("run", "shapes-ril", "--method", "naive", "--device", "cdua"), "the device 'cdua' cannot be used"),
        (("run", "shapes-ril", "--method", "naive", "--seed", "-1"), "--seed"),
        (("run", "shapes-ril", "--method", "naive", "--seed", "x"), "--seed"),
        (("run", "shapes-ril", "--method", "naive", "--mehtod", "x"), "--mehtod"),
        (("run", "shapes-ril"), "--method"),
        (("run",), "Missing argument"),
        (("rnu",), "No such command 'rnu'"),
        (("list", "metods"), "did you mean 'method'"),
        (("list", "ridd"), "did you mean 'rid'"),
        (("check", "shapes-smoek"), "did you mean 'shapes-smoke'"),
        (("calibrate", "shapes-ril", "--seeds", "2"), "2 seeds are too few"),
    ],
)
def test_a_request_that_cannot_be_met(refused, arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expected in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(refused, tiny_sequence, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused("run", tiny_sequence, "--method", "naive", "--out", tmp_path / "file" / "out")
    assert "cannot write" in message
    assert "--out" in message


@pytest.mark.parametrize("words", [("score",), ("report",)])
def test_a_folder_that_holds_no_run(refused, tmp_path, words):
    message = refused(*words, tmp_path)
    assert str(tmp_path) in message


def test_a_method_with_a_wrong_option(refused, tiny_sequence, tmp_path):
    message = refused(
        "run", tiny_sequence, "--method", "rid", "--set", "method.strenght=1", "--out", tmp_path / "out"
    )
    assert "'strenght'; did you mean 'strength'?" in message


def test_a_method_file_with_a_typo_in_a_hook(refused, tiny_sequence, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from ril_bench import Method\nclass Mine(Method):\n    def start_tasks(self): ...\n")
    message = refused("run", tiny_sequence, "--method", file, "--out", tmp_path / "out")
    assert "start_tasks is not a hook" in message
    assert str(file) in message


def test_a_failure_of_the_training_has_another_exit_code(verb, tiny_sequence, tmp_path, monkeypatch):
    def failing(*_, **__):
        raise ril_bench.NumericalError("the loss is not finite", where="task 1, update 3", hint="lower it")

    monkeypatch.setattr(ril_bench, "run", failing, raising=False)
    code, _, message = verb("run", tiny_sequence, "--method", "naive")
    assert code == 1
    assert message.startswith("error: the loss is not finite\n  where: task 1, update 3\n  hint: lower it")


def test_ctrl_c_prints_how_to_continue(verb, tiny_sequence, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ril_bench, "run", interrupted, raising=False)
    code, _, message = verb("run", tiny_sequence, "--method", "naive")
    assert code == 130
    assert (
        message
        == f"interrupted; to continue from the last checkpoint: ril-bench run {tiny_sequence} --method naive\n"
    )


# -- in a separate process -----------------------------------------------------------------------------------


def process(*arguments):
    script = "import sys; from ril_bench.cli import main; sys.argv[0] = 'ril-bench'; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )


def test_a_refusal_from_outside(tmp_path):
    done = process("run", "shapes-rli", "--method", "naive", "--out", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no sequence is called 'shapes-rli'")
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_not_an_error():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ril_bench", "list", "--json"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["list", "method"], ["list", "--json"]])
def test_a_full_disk_behind_stdout(words):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "ril_bench", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "No space left" in done.stderr
    assert done.stderr.count("error") == 1
    assert "bug" not in done.stderr
