"""Objects built from options that a person writes: methods and tuners."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ril_bench.errors import UserError, nearest


class Configurable:
    """Built from keyword options, held in `self.options`: `Draft(k=1)`, `Rid(decay=0.9)`.

    A subclass declares its options with their defaults as a pydantic model called `Options`. An unknown or wrong
    option raises a UserError that names it.
    """

    class Options(BaseModel):
        # The docstring below a field becomes its description.
        model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    options: Options

    def __init__(self, **options: Any):
        try:
            self.options = self.Options(**options)
        except ValidationError as error:
            known = list(self.Options.model_fields)
            faults = [
                f"unknown option {e['loc'][-1]!r}; {nearest(str(e['loc'][-1]), known)}"
                if e["type"] == "extra_forbidden"
                else f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ")
                for e in error.errors()
            ]
            raise UserError(
                f"{type(self).__name__} cannot be built: {'; '.join(faults)}",
                where=f"options of {type(self).__name__}",
                hint=f"its options are {', '.join(known) or 'none'}",
            ) from error
