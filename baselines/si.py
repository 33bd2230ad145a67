"""si: synaptic intelligence (Zenke et al. 2017, arXiv 1703.04200), on LoRA factors."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method


class Si(Method):
    """One adapter for all tasks; a weight is held by what its moves have contributed to the rewards so far.

        omega <- omega - g dtheta                                   after each update, g of the tuner's loss alone
        Omega <- Omega + omega / ((theta - theta*)^2 + damping)     at the end of a task; then theta* = theta
        loss   = strength * sum Omega (theta - theta*)^2

    [paper; code: aimagelab/mammoth]. g is taken before clipping, and dtheta is AdamW's step. omega counts as 0 where a
    task's moves raised the loss: a negative Omega would push weights away without bound [ours]. Carries Omega, omega,
    theta* and the adapter.
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 1.0
        """c, the weight of the loss beside rewards in sigma, as tuned (si.tuning.json); the paper: .1 for images."""
        damping: Annotated[float, Field(gt=0)] = 1e-3
        """xi, which bounds the importance of a weight that hardly moved [paper]."""

    def bind(self, model):
        self._model, self._importance, self._anchor, self._path = model, {}, {}, {}
        self._before = {}  # {factor: (its gradient, its value)} within an update

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
        weights = model.adapter_parameters("adapter")
        self._anchor = {name: weight.detach().clone() for name, weight in weights.items()}
        self._path = {name: weight.detach() * 0 for name, weight in weights.items()}

    def weight_loss(self):
        weights = self._model.adapter_parameters("adapter")
        self._before = {name: (w.grad.clone(), w.detach().clone()) for name, w in weights.items()}
        held = [
            (importance * (weights[name] - self._anchor[name]).square()).sum()
            for name, importance in self._importance.items()
        ]
        return self.options.strength * sum(held) if held else None

    def after_update(self):
        weights = self._model.adapter_parameters("adapter")
        for name, (gradient, before) in self._before.items():
            self._path[name] -= gradient * (weights[name].detach() - before)
        self._before = {}

    def end_task(self, task, model):
        for name, weight in model.adapter_parameters("adapter").items():
            moved = (weight.detach() - self._anchor[name]).square()
            gained = self._path[name].clamp(min=0) / (moved + self.options.damping)
            self._importance[name] = self._importance.get(name, 0) + gained

    def state_dict(self):
        return {"importance": self._importance, "anchor": self._anchor, "path": self._path}

    def load_state_dict(self, state):
        self._importance, self._anchor, self._path = state["importance"], state["anchor"], state["path"]
