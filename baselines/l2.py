"""l2: stay near the weights at the end of the last task."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method


class L2(Method):
    """One adapter for all tasks, with the loss strength / 2 * |theta - theta*|^2: EWC with F = 1.

    theta* are the weights at the end of the last task. theta are the factors A and B, not their product, as the
    factors are the trained parameters [ours].
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 0.03
        """Weight of the loss beside rewards in sigma, as tuned (l2.tuning.json)."""

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
