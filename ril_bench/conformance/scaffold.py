"""`ril-bench new`: a working file to start from."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.storage.files import write_files

METHOD = '''"""{name}: what it does, in one line."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method


class {cls}(Method):
    """The formula that it implements, and where it comes from: reports show this line.

        loss = strength / 2 * |theta - theta*|^2,  theta* as the last task left it

    Say which choices are the paper's and which are yours.
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 0.1  # --set method.strength=...

    def bind(self, model):
        self._model, self._anchor = model, {{}}

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({{"adapter": 1.0}}, train=["adapter"])

    def weight_loss(self):
        weights = self._model.adapter_parameters("adapter")
        moved = [(weights[name] - kept).square().sum() for name, kept in self._anchor.items()]
        return self.options.strength / 2 * sum(moved) if moved else None

    def end_task(self, task, model):
        weights = model.adapter_parameters("adapter")
        self._anchor = {{name: weight.detach().clone() for name, weight in weights.items()}}

    def state_dict(self):
        return {{"anchor": self._anchor}}

    def load_state_dict(self, state):
        self._anchor = state["anchor"]
'''


def new_method(name: str, folder: Path = Path()) -> Path:
    """Writes NAME.py, a method that runs and passes `ril-bench check`, and returns it.

    Raises UserError for a name that no module can have, or where the file is there already.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise UserError(
            f"{name!r} is no name for a Python file", hint="letters, digits and underscores, as my_method"
        )
    file = folder / f"{name}.py"
    if file.exists():
        raise UserError(
            "there is such a file already", where=str(file.absolute()), hint="choose another name"
        )
    cls = "".join(part.capitalize() for part in re.split("_+", name) if part)
    write_files({file: METHOD.format(name=name, cls=cls).encode()})
    return file
