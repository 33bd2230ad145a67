"""Validates the data of a file as a typed model.

Wrong data raises ONE error with all faults, each with its file, line and key.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from ril_bench.config.yaml_source import Key, Source
from ril_bench.errors import UserError, nearest


class Part(BaseModel):
    """A strictly typed part of a file: an unknown key is a fault."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    #: fields that a dump leaves out while they are None, so that a file without them keeps its digest
    omitted_if_none: ClassVar[frozenset[str]] = frozenset()

    # pydantic 2.12 has Field(exclude_if=...); this code also works with earlier versions.
    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = handler(self)
        return {k: v for k, v in fields.items() if v is not None or k not in self.omitted_if_none}


P = TypeVar("P", bound=Part)


def validated(cls: type[P], source: Source, inherited: Collection[str] = ()) -> P:
    """Validates the data of a source, and returns the model.

    Args:
        inherited: keys that tasks take over from the top level; a fault in such a value is reported once,
            where the value is written.

    Raises:
        UserError: all faults, one on each line, as "file:line: key: what".
    """
    try:
        model = cls.model_validate(source.data)
    except ValidationError as errors:
        model = None
        for error in errors.errors(include_url=False):
            _add_fault(cls, source, error, inherited)
    if source.faults or model is None:
        # Sort by line, as the user fixes them; faults on the same line keep the order in which they were
        # found.
        faults = sorted(source.faults, key=lambda fault: _line(fault.where))
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        listed = "\n".join(f"  {fault}" for fault in dict.fromkeys(faults))
        raise UserError(f"{Path(source.name).name} has {count}:\n{listed}")
    return model


def _line(where: str) -> int:
    end = where.rpartition(":")[2]
    return int(end) if end.isdigit() else 0


def _add_fault(cls: type[BaseModel], source: Source, error: Any, inherited: Collection[str]) -> None:
    key: Key = tuple(error["loc"])
    if len(key) >= 3 and key[0] == "tasks" and key[2] in inherited and key not in source.places:
        return  # inherited: reported at the top level, where the sequence states the value
    if error["type"] == "extra_forbidden":
        known = _fields(cls, key[:-1])
        source.add_fault(key, f"unknown key; {nearest(str(key[-1]), known)}")
    elif error["type"] == "missing":
        source.add_fault(key, "missing")
    elif error["type"] in ("model_type", "dict_type"):
        source.add_fault(key, "should hold keys and values")
    else:
        source.add_fault(
            key, f"{error['msg'].replace('Input should', 'should')}, not {reprlib.repr(error['input'])}"
        )


def _fields(cls: type[BaseModel], key: Key) -> list[str]:
    """The keys that are valid below a key."""
    named = False  # whether the next part is a name in a mapping, such as an arm's, and not a field
    for part in key:
        if isinstance(part, int) or named:
            named = False
            continue
        inner = cls.model_fields[part].annotation if part in cls.model_fields else None
        models = [
            kind
            for kind in (inner, *get_args(inner))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if not models:
            return []
        cls, named = models[0], get_origin(inner) is dict
    return list(cls.model_fields)
