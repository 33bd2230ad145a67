"""mofo: momentum-filtered optimizer (MoFO, Chen et al. 2024, arXiv 2407.20999)."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method

DECAY = 0.9  # of AdamW's momentum in every sequence


class Mofo(Method):
    """One adapter for all tasks; an update moves only the entries of each factor with the largest momentum.

        m     <- .9 m + .1 g
        theta <- AdamW's step for the `share` entries with the largest |m|, theta elsewhere

    So fewer weights leave the model that the task began with. Entries are ranked within each factor, as in
    K1nght/T2I-ConBench [code]. The momentum starts at 0 with each task, as the optimizer does. With share 1 this is
    naive. Carries the momentum and the adapter.
    """

    class Options(Method.Options):
        share: Annotated[float, Field(gt=0, le=1)] = 0.5
        """Share of the entries that an update moves; not tuned yet, the value of T2I-ConBench [code]."""

    def bind(self, model):
        self._model, self._momentum = model, {}
        self._before = {}  # the factors before the step, within an update

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
        self._momentum = {name: w.detach() * 0 for name, w in model.adapter_parameters("adapter").items()}

    def adjust_gradients(self):
        weights = self._model.adapter_parameters("adapter")
        self._before = {name: weight.detach().clone() for name, weight in weights.items()}

    def after_update(self):
        for name, weight in self._model.adapter_parameters("adapter").items():
            momentum = self._momentum[name].mul_(DECAY).add_(weight.grad, alpha=1 - DECAY)
            flat, before = weight.data.view(-1), self._before[name].view(-1)
            smallest = momentum.abs().flatten().argsort(stable=True)
            held = smallest[: len(flat) - round(self.options.share * len(flat))]
            flat[held] = before[held]
        self._before = {}

    def state_dict(self):
        return {"momentum": self._momentum}

    def load_state_dict(self, state):
        self._momentum = state["momentum"]
