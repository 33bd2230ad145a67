"""Commands as a user types them, and what they print."""

from __future__ import annotations

import json
import shlex
import sys
import typing
from pathlib import Path

import pytest

import ril_bench
from ril_bench import cli, registry
from tests.tiny import write_sequence


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


def test_check_says_what_it_skipped(verb):
    code, printed, _ = verb("check", "sd35-ril")
    assert code == 0
    assert "\nskipped loads" in printed
    assert printed.rstrip().endswith("5 of 6 checks passed, 1 skipped")
