"""The command of a hole computes the run that is missing, with all of its settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from ril_bench import registry
from ril_bench.api.runs import plan_of
from ril_bench.cli import app
from ril_bench.errors import UserError
from ril_bench.reporting.holes import refuse_holes
from tests.reporting.stated import info, stored
from tests.tiny import write_sequence


def commands(*infos: dict[str, Any]) -> list[str]:
    with pytest.raises(UserError) as caught:
        refuse_holes([stored(f"run-{k}", content) for k, content in enumerate(infos)])
    return re.findall(r"ril-bench run .*", str(caught.value))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"order": "reversed", "tuner": "refl"},
        {"settings": {"budget.updates": 7, "method.strength": 3.0}},
        {"settings": {"tasks.1.budget.updates": 7, "tasks.3.optimizer.lr": 0.5}},
        {"settings": {"tasks.1.budget.updates": 7, "budget.updates": 9}, "order": "2-3-1"},
        {"settings": {"tasks.2.tuner": {"name": "refl", "cap": 2.0}}, "order": "reversed"},
        {"settings": {"tasks.2.tuner.name": "refl", "tuner.k": 2}},
        {"settings": {"tasks.1.reward": "jpeg_kb", "evaluation.every": 5}},
        {"settings": {"tasks.1.unit": 2.0, "unit": 1.0}},
    ],
)
def test_the_command_plans_the_missing_run(arguments: dict[str, Any]) -> None:
    assert_planned(arguments)


@pytest.mark.parametrize("own", ["the user's", "the sequence's", "a task's"])
@pytest.mark.parametrize("settings", [{}, {"budget.updates": 7}])
def test_the_command_names_the_file_of_a_tuner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, settings: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from ril_bench.tuners.draft import Draft\n\n\nclass Mine(Draft): ...\n")
    arguments: dict[str, Any] = {"settings": settings}
    if own == "the user's":
        arguments["tuner"] = "./mine.py"
    elif own == "a task's":
        arguments["settings"] = {**settings, "tasks.2.tuner.name": "./mine.py"}
    else:
        data = yaml.safe_load((registry.shipped("tasks") / "shapes-ril.yaml").read_text())
        data["tuner"] = {"name": "./mine.py", "k": 2}
        arguments["sequence"] = write_sequence(tmp_path / "own.yaml", data)
    assert_planned(arguments)


def assert_planned(arguments: dict[str, Any]) -> None:
    """The command for a missing seed of a run plans exactly that run."""
    others = [info(**arguments, label="y", seed=seed) for seed in (0, 1)]
    (line,) = commands(info(**arguments), *others)
    assert "with the settings of" not in line
    words = shlex.split(line)
    given = typer.main.get_command(app).commands["run"].make_context("run", words[2:]).params  # type: ignore[attr-defined]
    plan = plan_of(
        given["sequence"], given["method"], given["tuner"], given["order"], int(given["seed"]), given["preset"],
        given["settings"] or (), given["label"],
    )  # fmt: skip
    expected = info(**arguments, seed=1)
    stated = {key: expected[key] for key in ("sequence", "sequence_sha256", "order", "seed", "official")}
    assert {key: plan.identity()[key] for key in stated} == stated
    assert plan.method_options == expected["method"]["options"]


@pytest.mark.parametrize("taken", ["budget", "tasks"])
def test_settings_that_no_command_sets_are_those_of_a_run(taken: str) -> None:
    changed = info(settings={"budget.until": None} if taken == "budget" else {"budget.updates": 7})
    if taken == "tasks":
        del changed["sequence"]["tasks"][0]
    (line,) = commands(changed, *(info(label="y", seed=seed) for seed in (0, 1)))
    assert line.endswith("# with the settings of run-0")
