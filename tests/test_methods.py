"""The Method base class, and the tests that every method that ships must pass."""

from __future__ import annotations

import ast
import io
import tokenize

import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.methods import HOOKS, Method, Plan


def test_the_hooks_are_those_of_the_documentation():
    assert {
        *("bind", "plan", "start_task", "prediction_loss", "weight_loss", "adjust_gradients"),
        *("after_update", "end_task", "state_dict", "load_state_dict"),
        *("turn", "parameters", "start_consolidation"),
    } == HOOKS


def test_every_hook_is_optional():
    class Nothing(Method):
        pass

    method = Nothing()
    assert method.plan(["a", "b"], 2) == Plan(weights={2: 1.0}, updates="own", extension=1.0, start="current")
    assert method.prediction_loss(None) is None
    assert method.weight_loss() is None
    assert method.state_dict() == {}
    for hook in ("bind", "adjust_gradients", "after_update"):
        assert getattr(method, hook)(*[None] * (hook == "bind")) is None
    assert not method.oracle


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("start_tasks", "start_task"), ("after_updates", "after_update"), ("predictionloss", "prediction_loss")],
)
def test_a_public_method_that_is_no_hook_is_an_error(typo, meant):
    with pytest.raises(UserError, match=f"{typo} is not a hook") as caught:
        type("Mine", (Method,), {typo: lambda self: None})
    assert repr(meant) in caught.value.hint


def test_helpers_begin_with_an_underscore():
    type("Mine", (Method,), {"_helper": lambda self: None, "Options": Method.Options, "oracle": True})
    for helper in (lambda self: None, staticmethod(lambda: None)):
        with pytest.raises(UserError, match="helper is not a hook"):
            type("Mine", (Method,), {"helper": helper})


def test_a_typo_in_a_file_is_reported_with_its_place(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from ril_bench import Method\n\n\nclass Mine(Method):\n    def afterupdate(self):\n        pass\n"
    )
    with pytest.raises(UserError, match="afterupdate is not a hook") as caught:
        registry.load("method", str(file))
    assert "'after_update'" in str(caught.value)
    assert str(file) in caught.value.where


class Tuned(Method):
    class Options(Method.Options):
        strength: float = 1.0
        rounds: int = 3


def test_options_have_defaults_and_do_not_change():
    method = Tuned(strength="1e-3")
    assert (method.options.strength, method.options.rounds) == (1e-3, 3)
    with pytest.raises(ValueError, match="frozen"):
        method.options.strength = 2.0


def test_all_wrong_options_are_reported_at_once():
    with pytest.raises(UserError) as caught:
        Tuned(strenght=1.0, rounds="many")
    message = str(caught.value)
    assert "'strenght'; did you mean 'strength'?" in message
    assert "rounds: " in message
    assert "its options are strength, rounds" in message


def test_a_method_without_options_takes_none():
    naive = registry.load("method", "naive")
    with pytest.raises(UserError, match="unknown option 'strength'") as caught:
        naive(strength=1.0)
    assert "its options are none" in str(caught.value)


def code_lines(source: str) -> int:
    """Lines with code: without docstrings, comments and blank lines."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstrings |= set(range(node.lineno, node.end_lineno + 1))
    layout = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def test_code_lines_are_counted_without_docstrings_and_comments():
    source = (
        '"""One."""\n\nx = [\n    1,  # two\n]\n\n\ndef f():\n    """Three\n    lines.\n    """\n    # four\n'
    )
    assert code_lines(source + "    return x\n") == 5


@pytest.mark.parametrize("name", registry.names("method"))
def test_a_baseline_is_short_and_documented(name):
    place = registry.locate("method", name)
    assert code_lines(place.read_text()) <= 80
    method = registry.load("method", name)
    assert method.__doc__
    assert [key for key, field in method.Options.model_fields.items() if not field.description] == []
    assert isinstance(method(), Method)  # its defaults are enough
