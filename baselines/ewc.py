"""ewc: elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796), on LoRA factors."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from ril_bench import Method


class Ewc(Method):
    """One adapter for all tasks, with the loss strength / 2 * sum_k sum F_k (theta - theta_k)^2 over finished tasks k.

    F_k is measured at the end of task k on `samples` visited states, one state at a time: F_k is the mean of squared
    gradients, not the square of their mean. importance `policy`: F = mean (d <v, out_theta> / d theta)^2, v ~ N(0, I),
    the diagonal of J'J; this is the Fisher information of the Gaussian policy up to the weight b_t^2 / sigma_t^2 of the
    step [ours]. `reward`: the reward of the image of x0hat replaces <v, out>; this is not Fisher information [ours].
    Each F is divided by its mean, so a strength means the same for all units of a reward. `online`: one term,
    F <- decay F + F_k, at the newest weights (Schwarz et al. 2018, arXiv 1805.06370); `per task`: one term for each.
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 0.1
        """Weight of the loss beside rewards in sigma, as tuned (ewc.tuning.json)."""
        terms: Literal["online", "per task"] = "online"
        """One term for all finished tasks, or one for each."""
        decay: Annotated[float, Field(ge=0, le=1)] = 1.0
        """Factor of the older importance, where `terms` is online."""
        importance: Literal["policy", "reward"] = "policy"
        """The scalar whose squared gradient is the importance."""
        samples: Annotated[int, Field(ge=1)] = 64
        """Visited states that the importance is measured on."""

    def bind(self, model):
        self._model, self._terms = model, []  # [(importance, weights)], each is {factor: tensor}

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def weight_loss(self):
        weights = self._model.adapter_parameters("adapter")
        losses = [
            (f[name] * (weights[name] - kept[name]).square()).sum() for f, kept in self._terms for name in f
        ]
        return self.options.strength / 2 * sum(losses) if losses else None

    def end_task(self, task, model):
        weights = model.adapter_parameters("adapter")
        squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for state in task.states(model, self.options.samples):
            gradients = torch.autograd.grad(self._scalar(task, state), list(weights.values()))
            for square, gradient in zip(squares.values(), gradients, strict=True):
                square.add_(gradient.square())
        mean = sum(s.sum() for s in squares.values()) / sum(s.numel() for s in squares.values())
        found = {name: square / mean for name, square in squares.items()}
        if self.options.terms == "online" and self._terms:
            (older, _), self._terms = self._terms[0], []
            found = {name: self.options.decay * older[name] + new for name, new in found.items()}
        self._terms.append((found, {name: weight.detach().clone() for name, weight in weights.items()}))

    def _scalar(self, task, state):
        """The scalar of one visited state whose squared gradient is the importance."""
        if self.options.importance == "reward":
            return task.reward(self._model.decode(state.prediction.x0()), state.prediction.prompts).sum()
        return (state.noise * state.prediction.output).sum()

    def state_dict(self):
        return {"terms": self._terms}

    def load_state_dict(self, state):
        self._terms = state["terms"]
