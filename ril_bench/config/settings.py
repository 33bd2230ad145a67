"""Settings: changes to a sequence and to a method.

Inside the package, settings are a mapping from dotted keys to values: {"budget.updates": 10,
"method.strength": 0.1}. The command line writes them as text: "budget.updates=10". Only `parse_settings`
reads such text. This module does not import torch.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ril_bench.config.yaml_source import parse_source
from ril_bench.errors import UserError

Settings = Mapping[str, Any]
UNCHANGED: Settings = MappingProxyType({})

METHOD_PREFIX = "method."
_EXAMPLES = {"--set": "budget.updates=10", "--compute": "dtype=bfloat16"}


def parse_settings(given: Settings | Iterable[str], option: str = "--set") -> dict[str, Any]:
    """The mapping for texts such as "budget.updates=10"; a mapping is copied unchanged.

    A value is read as YAML: 10, 1e-3, true, [to_q, to_k], {name: draft, k: 1}. If two texts have the same
    key, the last one counts.

    Args:
        option: the option of the command line that the texts come from, for messages.

    Raises:
        UserError: a text has no "=", no key, or a value that is not YAML.
    """
    if isinstance(given, Mapping):
        return copy.deepcopy(dict(given))
    settings: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise UserError(
                f"{text!r} sets nothing",
                where=option,
                hint=f"write it as key=value, for example {_EXAMPLES[option]}",
            )
        read = parse_source(value, f"{option} {key}")
        if read.faults:
            raise UserError("; ".join(map(str, read.faults)))
        settings.pop(key, None)  # the last one counts, and takes its own position
        settings[key] = read.data
    return settings


def split_settings(settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the method's options, without their prefix; the changes to the sequence)."""
    options = {key: value for key, value in settings.items() if key.startswith(METHOD_PREFIX)}
    changes = {key: value for key, value in settings.items() if key not in options}
    return {key.removeprefix(METHOD_PREFIX): value for key, value in options.items()}, changes


def setting_text(key: str, value: Any) -> str:
    """A setting as the command line writes it: key=value."""
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"
