"""refreshed: first-order expansions of earlier rewards from stored states; idea 8 of docs/studies/ours.md."""

from typing import Annotated

import torch
from pydantic import Field

from ril_bench import Method


class Refreshed(Method):
    """One adapter for all tasks; each earlier reward must not fall, as far as its expansion can tell.

        fall_k(theta) = mean over stored states of task k of <-G, out_theta - out>          G = d reward_k / d out
        loss          = strength * sum over k of max(0, fall_k(theta') + <d fall_k(theta'), theta - theta'> + margin)

    At the end of task k, `samples` visited states (x_t, t, prompt, out, G) are stored: G is the gradient of its reward
    of x0hat, in sigma, with respect to the output. theta' are the weights at the start of a task, and after every
    `every` updates.
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 3.0
        margin: Annotated[float, Field(ge=0)] = 0.2
        samples: Annotated[int, Field(ge=1)] = 64
        every: Annotated[int, Field(ge=1)] = 10

    def bind(self, model):
        self._model, self._memory, self._terms = model, [], []
        self._updates = 0

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
        self._updates, self._terms = 0, []

    def weight_loss(self):
        weights = self._model.adapter_parameters("adapter")
        if self._updates % self.options.every == 0:
            here = {name: w.detach().clone() for name, w in weights.items()}
            self._terms = [(*self._expanded(states, weights), here) for states in self._memory]
        falls = [f + sum((g[n] * (weights[n] - at[n])).sum() for n in g) for f, g, at in self._terms]
        losses = [(fall + self.options.margin).clamp(min=0) for fall in falls]
        return self.options.strength * sum(losses) if losses else None

    def _expanded(self, states, weights):
        """The predicted fall and its gradient."""
        fall, total = 0.0, {name: torch.zeros_like(w) for name, w in weights.items()}
        for kept in states:
            out = self._model.predict(kept["x_t"], kept["t"], [kept["prompt"]], kept["guidance"])
            value = -(kept["gradient"] * (out - kept["output"])).sum() / len(states)
            for name, g in zip(total, torch.autograd.grad(value, list(weights.values())), strict=True):
                total[name] += g
            fall += float(value.detach())
        return fall, total

    def after_update(self):
        self._updates += 1

    def end_task(self, task, model):
        states = []
        for state in task.states(model, self.options.samples):
            p = state.prediction
            output = p.output.detach().requires_grad_()
            reward = task.reward(model.decode(p.with_output(output).x0()), p.prompts).sum()
            (gradient,) = torch.autograd.grad(reward, output)
            kept = {"x_t": p.x_t.clone(), "output": output.detach(), "gradient": gradient, "t": p.t}
            states.append({**kept, "prompt": p.prompts[0], "guidance": p.guidance})
        self._memory.append(states)
        self._terms = []

    def state_dict(self):
        return {"memory": self._memory, "terms": [list(t) for t in self._terms], "updates": self._updates}

    def load_state_dict(self, state):
        self._memory, self._terms = list(state["memory"]), [tuple(t) for t in state["terms"]]
        self._updates = state["updates"]
