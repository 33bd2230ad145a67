"""Commands as a user types them. A wrong command ends with a message and exit code 2."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import ril_bench
from ril_bench import cli, registry
from tests.tiny import write_sequence

# -- wrong requests ------------------------------------------------------------------------------------------


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


# -- the verbs -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def test_run_prints_the_matrix_or_json(verb, tiny_sequence, out, without_figures):
    code, printed, _ = verb(
        "run", tiny_sequence, "-m", "naive", "--out", out, "--device", "cpu", "--threads", 1
    )
    folder = out / "tiny" / "given" / "naive" / "draft" / "seed-0"
    assert code == 0
    for words in (
        "brightness",
        "symmetry",
        "pretrained",
        "SSIM to step 0",
        f"page: {folder / 'report.html'}",
    ):
        assert words in printed
    code, printed, _ = verb("run", tiny_sequence, "-m", "naive", "--out", out, "--threads", 1, "--json")
    assert code == 0
    answer = json.loads(printed)
    assert answer["folder"] == str(folder)
    assert answer["metrics"]["rewards"] == ["brightness", "symmetry"]

    assert verb("score", folder)[0] == 0
    code, printed, _ = verb("score", folder, "--json")
    assert json.loads(printed) == answer["metrics"]

    code, printed, _ = verb("report", folder, "--out", out / "site")
    assert code == 0
    assert (out / "site" / "index.html").stat().st_size > 10_000


def test_check_states_what_a_sequence_is(verb, tiny_sequence):
    code, printed, _ = verb("check", tiny_sequence)
    assert code == 0
    for words in (
        "tiny version 1: brightness -> symmetry",
        "3 evaluation prompts",
        "no calibration for brightness",
    ):
        assert words in printed
    assert printed.rstrip().endswith("all checks passed")
    code, printed, _ = verb("check", tiny_sequence, "--json")
    assert code == 0
    assert json.loads(printed)["ok"]


def test_check_tries_the_tuner(verb, tiny_data, tmp_path):
    sequence = write_sequence(tmp_path / "mine.yaml", tiny_data, tuner={"name": "draft", "k": 7})
    code, printed, _ = verb("check", sequence)
    assert code == 2
    assert "last 7 steps" in printed
    assert "1 of 6 checks failed" in printed


def test_list(verb):
    code, printed, _ = verb("list")
    assert code == 0
    for kind in registry.KINDS:
        assert f"{kind}s" in printed
        for name in registry.names(kind):
            assert name in printed
    code, printed, _ = verb("list", "methods")
    assert code == 0
    assert "rid" in printed
    assert "shapes-ril" not in printed


def test_list_json(verb):
    code, printed, _ = verb("list", "--json")
    found = json.loads(printed)
    assert code == 0
    assert {kind: sorted(rows) for kind, rows in found.items()} == {
        k: registry.names(k) for k in registry.KINDS
    }
    assert all(summary for rows in found.values() for summary in rows.values())
    assert json.loads(verb("list", "reward", "--json")[1]) == {"reward": found["reward"]}


def test_version_and_help(verb):
    assert verb("--version") == (0, f"{ril_bench.__version__}\n", "")
    code, printed, _ = verb("--help")
    assert code == 0
    for name in ("demo", "list", "run", "score", "calibrate", "report", "check"):
        assert name in printed
        assert verb(name, "--help")[0] == 0


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("rid", "method", ["momentum teacher", "strength", "10.0", "decay"]),
        ("drtune", "tuner", ["needs: reward_gradient", "option"]),
        ("brightness", "reward", ["grey levels", "direction: 1"]),
        ("shapes-ril", "sequence", ["tasks: aesthetic, preference, compressibility", "calibrated: True"]),
        ("shapes-64", "model", ["diffusers"]),
        (
            "spin-sft",
            "claim",
            ["After its first iteration", "it holds if: ", "runs: 40", "denoiser evaluations: "],
        ),
    ],
)
def test_list_shows_all_that_is_known_of_a_name(verb, name, kind, words):
    code, printed, _ = verb("list", name)
    assert code == 0
    for word in (f"{kind} {name}", *words):
        assert word in printed
    details = json.loads(verb("list", name, "--json")[1])[kind][name]
    assert details["description"]


# -- in a separate process -----------------------------------------------------------------------------------


def process(*arguments, code=""):
    script = f"import sys; from ril_bench.cli import main; sys.argv[0] = 'ril-bench'; {code or 'main()'}"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )


def test_without_a_verb_it_prints_the_help(verb):
    code, printed, message = verb()
    assert (code, message) == (0, "")
    assert "Usage: ril-bench" in printed
    assert "ril-bench demo" in printed
    assert "--install-completion" in printed


VERBS = {command.name or command.callback.__name__: command for command in cli.app.registered_commands}


@pytest.mark.parametrize("name", sorted(set(VERBS) - {"demo", "list", "grid", "submit"}))
def test_a_verb_alone_states_its_usage_and_an_example(refused, name):
    message = refused(name)
    assert f"Usage: ril-bench {name}" in message
    assert f"For example: ril-bench {name} " in message
    assert message.rstrip().endswith(f"hint: ril-bench {name} --help")


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_option_has_a_help_that_rich_does_not_interpret(name):
    command = VERBS[name]
    texts = [command.callback.__doc__, command.epilog]
    for annotation in typing.get_type_hints(command.callback, include_extras=True).values():
        for option in getattr(annotation, "__metadata__", ()):
            assert option.help
            texts.append(option.help)
    assert all(text and "[" not in text for text in texts)


@pytest.mark.parametrize("name", sorted(VERBS))
def test_the_example_of_a_verb_names_options_that_it_has(verb, name):
    words = shlex.split(VERBS[name].epilog.partition(": ")[2].partition(",")[0])
    assert words[:2] == ["ril-bench", name]
    known = verb(name, "--help")[1]
    assert all(word in known for word in words if word.startswith("-"))


def test_a_hint_names_the_program_as_this_shell_finds_it(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    program = tmp_path / ".venv" / "bin" / "ril-bench"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setattr(sys, "argv", [str(program), "score", "none"])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit):
        cli.main()
    assert cli.program() == ".venv/bin/ril-bench"
    assert cli.command("report", "my runs") == ".venv/bin/ril-bench report 'my runs'"
    assert cli._typeable("hint: ril-bench run x") == "hint: .venv/bin/ril-bench run x"
    capsys.readouterr()


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


def test_a_refusal_from_outside(tmp_path):
    done = process("run", "shapes-rli", "--method", "naive", "--out", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no sequence is called 'shapes-rli'")
    assert "Traceback" not in done.stderr


def test_the_list_of_methods_marks_oracles_and_prints_each_name_once(verb):
    lines = json.loads(verb("list", "methods", "--json")[1])["method"]
    assert {name for name, line in lines.items() if "†" in line} == {"agem", "joint", "mapreduce", "replay"}
    assert not [name for name, line in lines.items() if line.startswith(f"{name}:")]


def test_a_source_tag_is_not_markup(verb):
    assert "[code: lzzcd001/nabla-gfn]" in verb("list", "tuners")[1]


def test_reproduce_prints_the_comparisons_and_the_verdict(
    verb, tiny_sequence, tmp_path, monkeypatch, in_this_process
):
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(
        f"# Naive tuning drifts\nclaim: It drifts.\nsource: '[ours]'\nsequences: [{tiny_sequence}]\nseeds: 1\n"
        "arms: {naive: {}}\ncomparisons: [{metric: drift, of: naive, expected: higher}]\n"
    )
    code, printed, _ = verb("reproduce", "./own.yaml", "--dry-run")
    assert (code, "1 runs: 0 complete, 1 to run" in printed) == (0, True)
    assert not Path("runs").exists()
    code, printed, _ = verb("reproduce", "./own.yaml", "-q")
    assert code == 0
    for words in ("drift of naive", "higher than 0", "own: undecided, n = 1 seed", "5 seeds are the fewest"):
        assert words in printed
    code, printed, _ = verb("reproduce", "./own.yaml", "--json")
    found = json.loads(printed)
    assert found["content"] == json.loads(Path("own.verdict.json").read_text())
    assert Path(found["file"]).resolve() == Path("own.verdict.json").resolve()


@pytest.mark.parametrize("methods", [("naive", "soup"), ("soup",), ("naive",)])
@pytest.mark.parametrize("tasks", [1, 2])
def test_the_demo_says_what_became_of_each_method(verb, tiny_data, tmp_path, in_this_process, methods, tasks):
    sequence = write_sequence(
        tmp_path / "mine.yaml", tiny_data, tasks=tiny_data["tasks"][:tasks], budget={"updates": 1, "batch": 2}
    )
    chosen = [word for name in methods for word in ("-m", name)]
    code, printed, errors = verb("demo", "--sequence", sequence, *chosen, "--out", tmp_path / "out", "-q")
    assert code == 0, errors
    assert ("In this run soup ended" in printed) == (len(methods) == 2)
    assert ("and forgot" in printed) == (len(methods) == tasks == 2)  # one task has nothing to forget
    assert "What to type next:" in printed
    assert (tmp_path / "out" / "index.html").is_file()
