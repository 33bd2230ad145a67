"""Names, files and entry points: which are found, and which are refused.

Listing names imports nothing.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.tuners.base import Tuner

TUNER = "from ril_bench.tuners.base import Tuner\nclass Mine(Tuner):\n    pass\n"


def installed(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(
        registry, "entry_points_of", lambda group: [point for point in points if point.group == group]
    )


def test_what_ships() -> None:
    assert {"shapes-ril", "shapes-smoke"} <= set(registry.names("sequence"))
    assert {"aesthetic", "jpeg_kb", "attributes"} <= set(registry.names("reward"))
    assert "draft" in registry.names("tuner")
    assert registry.names("model") == ["shapes-64", "shapes-flow"]


@pytest.mark.parametrize("reference", ["models/tiny", "tiny", "models/tiny/"])
def test_a_folder_that_has_the_form_of_a_name_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    (tmp_path / reference).mkdir(parents=True)
    (tmp_path / reference / "model_index.json").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="could be the folder here, or a model of the hub") as caught:
        registry.locate("model", reference)
    assert caught.value.hint == f"write ./{reference} for the folder"
    assert registry.locate("model", f"./{reference}") == Path(reference)


@pytest.mark.parametrize("kind", ["tuner", "reward", "method", "model"])
def test_every_name_that_is_listed_loads(kind: str) -> None:
    for name in registry.names(kind):
        assert registry.load(kind, name) is not None


def test_every_sequence_that_is_listed_can_be_read() -> None:
    for name in registry.names("sequence"):
        assert load_sequence(name).name == name


def test_names_joined_by_commas_get_the_options_to_write() -> None:
    with pytest.raises(UserError) as caught:
        registry.locate("method", "naive, rid")
    assert caught.value.hint == "give each method on its own: --method naive --method rid"


def test_the_hint_for_an_unknown_name_or_kind_has_the_nearest_name() -> None:
    with pytest.raises(UserError, match="no reward is called 'asthetic'") as caught:
        registry.load("reward", "asthetic")
    assert caught.value.hint == "did you mean 'aesthetic'?"
    with pytest.raises(UserError) as caught:
        registry.load("tuner", "zzz")
    assert caught.value.hint is not None
    assert "draft" in caught.value.hint
    with pytest.raises(UserError) as caught:
        registry.names("rewards")
    assert caught.value.hint == "did you mean 'reward'?"


def test_a_model_may_be_a_folder_or_a_hub_id(tmp_path: Path) -> None:
    assert registry.load("model", str(tmp_path)) == str(tmp_path)
    assert registry.load("model", "somebody/some-model") == "somebody/some-model"
    with pytest.raises(UserError, match="no model at"):
        registry.load("model", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no model is called"):
        registry.load("model", "shapes-128")


def test_code_of_the_current_folder_runs_only_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(TUNER)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no tuner is called 'mine'"):
        registry.load("tuner", "mine")
    for reference in ("./mine.py", "mine.py", str(tmp_path / "mine.py")):
        assert issubclass(registry.load("tuner", reference), Tuner)
        assert registry.short_name(reference) == "mine"


def test_locating_runs_no_code(tmp_path: Path) -> None:
    file = tmp_path / "bomb.py"
    file.write_text("raise SystemExit")
    assert registry.locate("tuner", str(file)) == file


def test_a_method_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "quiet.py"
    file.write_text(
        '"""Does nothing."""\nfrom ril_bench.methods import Method\nclass Quiet(Method):\n    pass\n'
    )
    found = registry.load("method", str(file))
    assert found.__name__ == "Quiet"
    assert sys.modules[found.__module__].__file__ == str(file)


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("class Mine:\n    pass\n", "exactly one subclass of Tuner; it defines none", ""),
        ("from ril_bench.tuners.base import Tuner\n", "it defines none", ""),
        (TUNER + "class Other(Mine):\n    pass\n", "it defines Mine, Other", ""),
        ("x = 1\ndef f(:\n", "SyntaxError", ":2"),
        ("x = 1\n\nimport no_such_module\n", "ModuleNotFoundError", ":3"),
        ("def f():\n    return 1 / 0\n\nf()\n", "ZeroDivisionError", ":2"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, what: str, line: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(UserError, match=what) as caught:
        registry.load("tuner", str(file))
    assert caught.value.where == f"{file}{line}"


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    group = "ril_bench.tuners"
    good = EntryPoint("theirs", "ril_bench.tuners.draft:Draft", group)
    installed(
        monkeypatch,
        good,
        EntryPoint("draft", "json:JSONDecoder", group),
        EntryPoint("wrong", "json:JSONDecoder", group),
        EntryPoint("gone", "no_such_module:X", group),
    )
    names = registry.names("tuner")
    assert {"draft", "gone", "theirs", "wrong"} <= set(names)
    assert names == sorted(set(names))
    assert registry.load("tuner", "theirs") is registry.load("tuner", "draft")  # what ships is not shadowed
    with pytest.raises(UserError, match=r"not a subclass of ril_bench\.tuners"):
        registry.load("tuner", "wrong")
    with pytest.raises(UserError, match="cannot be imported"):
        registry.load("tuner", "gone")

    installed(monkeypatch, good, EntryPoint("theirs", "other:Draft", group))
    with pytest.raises(UserError, match="two installed packages"):
        registry.load("tuner", "theirs")


def test_a_file_here_with_that_name_is_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(UserError, match=r"write \./mine\.py"):
        registry.locate("method", "mine")
