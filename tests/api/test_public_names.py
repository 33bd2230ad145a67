"""Public names: nothing shadows them, and each verb has the options of the command line."""

from __future__ import annotations

import ast
import inspect
import pkgutil
from enum import Enum
from importlib import import_module
from pathlib import Path, PurePath

import pytest

import ril_bench
from ril_bench import cli

STUB = Path(ril_bench.__file__).with_suffix(".pyi")
#: options that only the command line has, because it prints
PRINTING = {"compare": {"every"}, "submit": {"template"}}
PRINTING_OF_ALL = {"as_json"}
#: the verbs with --dry-run, which is a function of its own in Python
PREVIEWS = {
    "run": "preview",
    "grid": "preview_grid",
    "reproduce": "preview_claim",
    "submit": "preview_submission",
}
HEAVY = ("ril_bench.worlds.shapes.train",)  # a program, not a part of the library


def public_names() -> dict[str, str]:
    """{name: module} of the stub."""
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"ril_bench.{node.module}" for node in imports for alias in node.names}


def test_no_import_of_a_module_shadows_a_public_name():
    for module in pkgutil.walk_packages(ril_bench.__path__, "ril_bench."):
        if not module.name.startswith(HEAVY) and not module.name.endswith("__main__"):
            import_module(module.name)
    for name, place in public_names().items():
        assert getattr(ril_bench, name) is getattr(import_module(place), name), name
        assert not inspect.ismodule(getattr(ril_bench, name)), name


def test_tab_completion_shows_the_public_names_and_nothing_else():
    assert set(dir(ril_bench)) == set(public_names())
    assert set(ril_bench.__all__) == set(public_names()) - {"list"}  # a star import keeps Python's own list


# -- the verbs -----------------------------------------------------------------------------------------------

VERBS = {
    (command.name or command.callback.__name__): command.callback for command in cli.app.registered_commands
}


def plain(default: object) -> object:
    """A default in one form: an empty list is None, "0" is 0, a path is a string."""
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, PurePath):
        return str(default)
    if isinstance(default, list | tuple):
        return tuple(default) or None
    return int(default) if isinstance(default, str) and default.isdecimal() else default


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_and_its_function_have_the_same_options_and_defaults(verb):
    options = inspect.signature(VERBS[verb]).parameters
    typed = {name: plain(parameter.default) for name, parameter in options.items()}
    extra = PRINTING.get(verb, set()) | ({"dry_run"} if verb in PREVIEWS else set())
    assert extra <= set(typed)
    typed = {name: default for name, default in typed.items() if name not in extra | PRINTING_OF_ALL}
    function = getattr(ril_bench, verb)
    called = {name: plain(p.default) for name, p in inspect.signature(function).parameters.items()}
    # `submit --template` needs no run, so the command line itself refuses a call without one
    needed = {name for name, default in called.items() if default is inspect.Parameter.empty}
    assert {name: called[name] if name in needed and d is None else d for name, d in typed.items()} == called


def test_only_known_functions_are_not_verbs():
    functions = {name for name in public_names() if inspect.isfunction(getattr(ril_bench, name))}
    assert functions - set(VERBS) == {*PREVIEWS.values(), "load_sequence"}
    assert set(VERBS) <= functions


@pytest.mark.parametrize(("verb", "preview"), PREVIEWS.items())
def test_a_preview_takes_the_arguments_of_its_verb(verb, preview):
    options, of_verb = (inspect.signature(getattr(ril_bench, name)).parameters for name in (preview, verb))
    optional = {"method_yaml"} if verb == "submit" else set()  # without one, its absence is a fault
    assert {name: p.default for name, p in options.items() if name not in optional} == {
        name: of_verb[name].default for name in options if name not in optional
    }


def test_the_sentence_on_verbs_names_every_preview():
    for text in (ril_bench.__doc__, (Path(__file__).parents[2] / "docs" / "generate.py").read_text()):
        assert all(f"`{preview}`" in text for preview in PREVIEWS.values())


@pytest.mark.parametrize("name", sorted(public_names()))
def test_every_public_name_is_documented(name):
    assert (inspect.getdoc(getattr(ril_bench, name)) or "").strip()
