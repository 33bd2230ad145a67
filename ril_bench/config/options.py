"""Objects that are built from options which the user writes: methods and tuners."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ril_bench.errors import UserError, nearest


class Configurable:
    """A class that is built from keyword options: `Draft(k=1)`, `Rid(decay=0.9)`.

    `self.options` holds the options.

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
                f"unknown option {fault['loc'][-1]!r}; {nearest(str(fault['loc'][-1]), known)}"
                if fault["type"] == "extra_forbidden"
                else f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
                for fault in error.errors()
            ]
            raise UserError(
                f"{type(self).__name__} cannot be built: {'; '.join(faults)}",
                where=f"options of {type(self).__name__}",
                hint=f"its options are {', '.join(known) or 'none'}",
            ) from error
