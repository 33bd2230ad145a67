"""l2: stay near the weights of the last task's end."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method


class L2(Method):
    """One adapter tuned on, with strength / 2 * |theta - theta*|^2, theta* as the last task left it: EWC with F = 1.

    theta are the factors A and B, as what trains and what is remembered are the same numbers [ours].
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 0.0316  # as tuned: l2.tuning.json

    def bind(self, model):
        self._model, self._anchor = model, {}

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def weight_loss(self):
        weights = self._model.adapter_parameters("adapter")
        moved = [(weights[name] - kept).square().sum() for name, kept in self._anchor.items()]
        return self.options.strength / 2 * sum(moved) if moved else None

    def end_task(self, task, model):
        self._anchor = {name: w.detach().clone() for name, w in model.adapter_parameters("adapter").items()}

    def state_dict(self):
        return {"anchor": self._anchor}

    def load_state_dict(self, state):
        self._anchor = state["anchor"]
