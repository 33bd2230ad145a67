"""Errors state what is wrong, where, and a hint, and keep all of it across processes."""

from __future__ import annotations

import pickle

import pytest

from ril_bench.errors import (
    InfrastructureError,
    NumericalError,
    OutOfMemoryError,
    RilError,
    UserError,
    message_of,
    text_of,
)


def test_text() -> None:
    error = UserError("no such file", where="a.yaml:3", hint="name another")
    assert str(error) == "no such file\n  where: a.yaml:3\n  hint: name another"
    assert str(UserError("no such file")) == "no such file"


@pytest.mark.parametrize(
    ("cls", "exit_code", "kind"),
    [
        (UserError, 2, "user"),
        (NumericalError, 1, "numerical"),
        (OutOfMemoryError, 1, "memory"),
        (InfrastructureError, 1, "infrastructure"),
    ],
)
def test_kinds_and_exit_codes(cls: type[RilError], exit_code: int, kind: str) -> None:
    assert (cls.exit_code, cls.kind) == (exit_code, kind)


def test_a_worker_process_can_hand_an_error_over() -> None:
    error = NumericalError("loss is nan", where="update 3", hint="lower the rate")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is NumericalError
    assert str(again) == str(error)


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no message")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("not so"), "ValueError: not so"),
        (ValueError(), "ValueError"),
        (ValueError("\ud83d"), "ValueError: ?"),
        (Mute(), "Mute"),
        (GeneratorExit(), "GeneratorExit"),
    ],
)
def test_the_text_of_any_exception(error: BaseException, text: str) -> None:
    assert text_of(error) == text
    assert message_of(error) == text.partition(": ")[2] or text
