"""taylor: earlier rewards stay in the loss as their first-order expansions; a method of this suite."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method


class Taylor(Method):
    """One adapter for all tasks; each earlier reward must not fall, as far as its gradient can tell.

        g_k  = moving average of the gradients of task k's loss, in sigma, when task k ends at theta_k
        loss = strength * sum over earlier tasks k of max(0, <g_k, theta - theta_k> + margin)

    <g_k, theta - theta_k> is the predicted fall of reward k. A task that ends at a criterion ends where its reward
    still rises, so its gradient says more than the curvature that ewc keeps. It turns on the way: the margin, a
    predicted gain, pays for that. With strength 0 this is naive. It adds no denoiser call to an update. Carries g_k and
    theta_k, two copies of the adapter for each task. [ours: docs/studies/ours.md]
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 3.0
        """Weight of the loss beside rewards in sigma, from a pilot on tuning seeds (docs/studies/ours.md)."""
        margin: Annotated[float, Field(ge=0)] = 0.5
        """The predicted gain of an earlier reward, in sigma, at which its term is 0, as tuned (taylor.tuning.json)."""
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
        """m, the decay of the moving average of gradients."""

    def bind(self, model):
        self._model, self._terms = model, []  # [(gradient, weights)], each is {factor: tensor}
        self._average, self._updates = {}, 0

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
        self._average = {name: w.detach() * 0 for name, w in model.adapter_parameters("adapter").items()}
        self._updates = 0

    def weight_loss(self):
        weights, m = self._model.adapter_parameters("adapter"), self.options.decay
        for name, average in self._average.items():  # the gradients are those of the tuner's loss alone
            average.mul_(m).add_(weights[name].grad, alpha=1 - m)
        self._updates += 1
        falls = [sum((g[name] * (weights[name] - kept[name])).sum() for name in g) for g, kept in self._terms]
        losses = [(fall + self.options.margin).clamp(min=0) for fall in falls]
        return self.options.strength * sum(losses) if losses else None

    def end_task(self, task, model):
        bias = 1 - self.options.decay**self._updates or 1.0  # 0 after no update: the average is 0
        gradient = {name: average / bias for name, average in self._average.items()}
        kept = {name: w.detach().clone() for name, w in model.adapter_parameters("adapter").items()}
        self._terms.append((gradient, kept))

    def state_dict(self):
        return {"terms": self._terms, "average": self._average, "updates": self._updates}

    def load_state_dict(self, state):
        self._terms, self._average, self._updates = state["terms"], state["average"], state["updates"]
