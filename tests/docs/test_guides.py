"""Follows README.md and the guides: writes their files and runs their commands, in order."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from ril_bench import cli
from ril_bench.config.settings import UNCHANGED
from ril_bench.running.reward_task import RewardTask
from ril_bench.running.runner import Runner
from ril_bench.sequences.sequence_file import SequenceFile, load_sequence
from ril_bench.storage.digests import sha256_json
from tests.docs.pages import GUIDES, PAGES, ROOT, blocks, command_blocks, in_a_fork


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory):
    """Complete runs of all pages: a run that another page has computed is copied."""
    return tmp_path_factory.mktemp("finished-runs")


@pytest.fixture
def shared_runs(finished_runs, monkeypatch):
    """Copies runs that another page has computed. None of them measures its bare cost, which takes seconds.

    The run of `test_the_first_commands_work_in_a_new_shell` measures it.
    """
    execute = Runner.execute

    def copied_or_executed(runner):
        kept, place = finished_runs / sha256_json(runner.plan.identity()), runner.folder.path
        if kept.exists() and not place.exists():
            shutil.copytree(kept, place)
        runner.account = False
        folder = execute(runner)
        if not kept.exists():
            shutil.copytree(place, kept)
        return folder

    monkeypatch.setattr(Runner, "execute", copied_or_executed)


#: settings of the sequences that pages run: all stages of a run, with as few calls as they need
SMALL = {
    "sampler.steps": 2,
    "sampler.guidance": 1.0,
    "budget.updates": 1,
    "budget.batch": 2,
    "units.images": 4,
    "evaluation.prompts": 2,
    "evaluation.images_per_prompt": 2,
}


@pytest.fixture
def small_sequences(monkeypatch):
    """Every sequence has a few calls, and a method sees at most two states of a task.

    `test_the_first_commands_work_in_a_new_shell` runs a sequence as it ships.
    """
    resolve, states = SequenceFile.resolve, RewardTask.states

    def resolved_small(file, settings=UNCHANGED, **given):
        tasks = file.source.data["tasks"]
        own = {f"tasks.{i}.budget.updates": 1 for i, task in enumerate(tasks, 1) if "budget" in task}
        return resolve(file, {**SMALL, **own, **settings}, **given)

    monkeypatch.setattr(SequenceFile, "resolve", resolved_small)
    monkeypatch.setattr(RewardTask, "states", lambda task, model, n: states(task, model, min(n, 2)))


def typed(command: list[str]) -> int:
    """The exit code of a command of the command line."""
    sys.argv = command
    try:
        cli.main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_followed(
    page, tmp_path, monkeypatch, in_this_process, shared_runs, small_sequences, without_figures
):
    monkeypatch.setenv("COLUMNS", "120")
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).write_text(block.body)
        for command in block.commands if block.typed else []:
            assert command[0] == "ril-bench", f"{page.name}: {shlex.join(command)}"
            result = in_a_fork(lambda command=command: typed(command), tmp_path)
            assert result.code == 0, f"{page.name}: {shlex.join(command)}\n{result.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_commands_and_the_command_line_knows_their_options(page):
    commands = [command for block in command_blocks(page) for command in block.commands]
    assert commands
    group = typer.main.get_command(cli.app)
    for _, verb, *arguments in (command for command in commands if command[0] == "ril-bench"):
        if verb.startswith("-"):
            continue
        assert verb in group.commands, f"{page.name}: ril-bench {verb}"
        known = {
            word for option in group.commands[verb].params for word in (*option.opts, *option.secondary_opts)
        }
        given = {
            word.partition("=")[0] for word in arguments if word.startswith("-") and not word[1:2].isdigit()
        }
        assert given <= known | {"--help"}, f"{page.name}: {shlex.join([verb, *arguments])}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_sequences_of_a_page_are_valid_as_they_stand(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {Path(block.file): block.body for block in blocks(page) if block.file}
    for file, body in files.items():
        file.write_text(body)
    for file in files:
        if file.suffix == ".yaml" and "tasks" in yaml.safe_load(files[file]):
            assert load_sequence(f"./{file}").tasks


def test_each_guide_to_an_addition_writes_a_file_and_checks_it():
    additions = [guide for guide in GUIDES if guide.stem.startswith("add-a-")]
    assert [guide.stem for guide in additions] == [
        "add-a-method",
        "add-a-reward",
        "add-a-sequence",
        "add-a-tuner",
    ]
    for guide in additions:
        assert any(block.file for block in blocks(guide))
        verbs = [command[1] for block in command_blocks(guide) for command in block.commands]
        assert "check" in verbs


@pytest.mark.parametrize("target", ["demo", "test", "readme", "docs"])
def test_make_knows_the_targets_that_pages_name(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_first_commands_work_in_a_new_shell(tmp_path, own_cache):
    """With bash and the installed entry point, in an environment with only a few variables."""
    script = (
        "set -e\nril-bench --version\nril-bench list methods\nril-bench run shapes-smoke --method naive\n"
    )
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "RIL_BENCH_CACHE": str(own_cache),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "runs/shapes-smoke/given/naive/draft/seed-0"
    assert (folder / "report.html").is_file()
    assert json.loads((folder / "run.json").read_text())["official"]
