"""Every path of a public function may begin with "~": a shell leaves it there in `--out=~/runs`, and so does Python."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import ril_bench
from ril_bench import registry
from ril_bench.cli import main
from ril_bench.leaderboard.check import Checker
from tests.reporting.synthetic import write_run

RUN = {"sequence": "shapes-smoke", "method": "naive"}
GRID = {"sequences": ["shapes-smoke"], "methods": ["naive"]}
TUNE = {"method": "ewc", "sequence": "shapes-smoke"}
ENTRY = {"runs": "/runs", "method_yaml": "/method.yaml"}
#: (function, parameter): the function below ril_bench.api that gets the path, and the other arguments
CASES: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("Run", "path"): ("storage.read.read_run", {}),
    ("calibrate", "out"): ("studies.calibration.calibrate", {"sequence": "shapes-smoke"}),
    ("calibrate", "to"): ("studies.calibration.calibrate", {"sequence": "shapes-smoke"}),
    ("check", "record"): ("leaderboard.checked.note", {"target": "."}),
    ("check", "rerun"): ("leaderboard.check.check", {"target": "."}),
    ("check", "target"): ("leaderboard.check.check", {}),
    ("compare", "a"): ("reporting.summary.load", {"b": "RUN"}),
    ("compare", "b"): ("reporting.summary.load", {"a": "RUN"}),
    ("compare", "out"): ("reporting.side_by_side.write_side_by_side", {"a": "RUN", "b": "RUN"}),
    ("demo", "out"): ("studies.grid.grid.run_all", {}),
    ("doctor", "out"): ("diagnosis.diagnose.doctor", {"sequence": "shapes-smoke"}),
    ("export", "out"): ("reporting.export.export", {"run": "/run"}),
    ("export", "run"): ("reporting.export.export", {"out": "/lora"}),
    ("grid", "file"): ("studies.grid.axes.axes", {}),
    ("grid", "out"): ("studies.grid.grid.grid", GRID),
    ("preview", "out"): ("diagnosis.diagnose.doctor", RUN),
    ("preview_claim", "out"): ("studies.claims.reproduce.plan_claim", {"claim": "rid-forgets-less"}),
    ("preview_grid", "file"): ("studies.grid.axes.axes", {}),
    ("preview_grid", "out"): ("studies.grid.grid.plan_grid", GRID),
    ("preview_submission", "method_file"): ("leaderboard.submit.rehearse", ENTRY),
    ("preview_submission", "method_yaml"): ("leaderboard.submit.rehearse", ENTRY),
    ("preview_submission", "runs"): ("leaderboard.submit.rehearse", ENTRY),
    ("report", "out"): ("reporting.site.write_site", {"runs": "RUN"}),
    ("report", "runs"): ("reporting.find.find_runs", {}),
    ("reproduce", "out"): ("studies.claims.reproduce.reproduce", {"claim": "rid-forgets-less"}),
    ("reproduce", "to"): ("studies.claims.reproduce.reproduce", {"claim": "rid-forgets-less"}),
    ("run", "out"): ("running.runner.Runner", RUN),
    ("score", "run"): ("storage.entry_note.refuse_entry", {}),
    ("submit", "method_file"): ("leaderboard.submit.submit", ENTRY),
    ("submit", "method_yaml"): ("leaderboard.submit.submit", ENTRY),
    ("submit", "runs"): ("leaderboard.submit.submit", ENTRY),
    ("submit", "to"): ("leaderboard.submit.submit", ENTRY),
    ("tune", "out"): ("studies.tuning.tune", TUNE),
    ("tune", "to"): ("studies.tuning.tune", TUNE),
}


class ReachedError(Exception):
    """The path was handed on, whole."""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder ~/there, in a home folder of its own; the current folder is another one."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "there").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home" / "there"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run") / "seed-0", prompts=2, pixels=16, updates=1)


def test_every_path_of_a_public_function_has_a_case() -> None:
    objects = {name: getattr(ril_bench, name) for name in dir(ril_bench)}
    functions = {name: one for name, one in objects.items() if inspect.isfunction(one) or name == "Run"}
    assert set(CASES) == {
        (name, parameter.name)
        for name, function in functions.items()
        for parameter in inspect.signature(function).parameters.values()
        if "Path" in str(parameter.annotation) or "Places" in str(parameter.annotation)
    }


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_a_path_below_the_home_folder(
    name: str, parameter: str, there: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, others = CASES[name, parameter]
    module, _, function = f"ril_bench.{place}".rpartition(".")
    if parameter == "record":  # it is written after a verdict
        monkeypatch.setattr("ril_bench.leaderboard.check.check", lambda *_, **__: [None])
    monkeypatch.setattr(
        import_module(module), function, watched(getattr(import_module(module), function), there)
    )
    arguments = {key: run if value == "RUN" else value for key, value in others.items()}
    with pytest.raises(ReachedError):
        called(name, **{**arguments, parameter: "~/there"})


def called(name: str, **arguments: Any) -> None:
    """Calls a function; a run's files are read later."""
    found = getattr(ril_bench, name)(**arguments)
    if isinstance(found, ril_bench.Run):
        _ = found.stored


def watched(function: Callable[..., Any], there: Path) -> Callable[..., Any]:
    """The function, which ends when it gets the folder and fails when it gets a "~"."""

    def inside(*arguments: Any, **options: Any) -> Any:
        paths = list(paths_of([*arguments, *options.values()]))
        assert not [path for path in paths if str(path).startswith("~")]
        if there in paths:
            raise ReachedError
        return function(*arguments, **options)

    return inside


def paths_of(value: Any) -> Iterator[Path]:
    """The paths and texts inside a value, as paths."""
    if isinstance(value, str | Path):
        yield Path(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from paths_of(item)
    elif isinstance(value, Checker):
        yield from paths_of([*vars(value).values()])


@pytest.mark.parametrize("kind", registry.KINDS)
def test_what_may_be_a_name_is_expanded_where_names_are_looked_up(kind: str, there: Path) -> None:
    file = "mine.py" if kind in ("method", "tuner", "reward") else "mine.yaml"
    (there / file).touch()
    assert registry.locate(kind, f"~/there/{file}") == there / file


# -- what the command line itself does with a path -----------------------------------------------------------


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["ril-bench", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_check_takes_a_folder_below_the_home_folder(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Path] = []

    def check(folder: Path, **_: object) -> list[object]:
        checked.append(folder)
        return []

    monkeypatch.setattr("ril_bench.leaderboard.check.check", check)
    assert typed(monkeypatch, "check", "~/there") == 0
    assert checked == [there]


@pytest.mark.parametrize("words", [("demo",), ("report", "runs")])
def test_a_page_below_the_home_folder_is_named(
    words: tuple[str, ...], there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ril_bench, words[0], lambda *_, **__: [])
    monkeypatch.setenv("COLUMNS", "500")
    assert typed(monkeypatch, *words, "--out", "~/there") == 0
    assert str(there / "index.html") in capsys.readouterr().out
