"""recall: earlier rewards as their expansions in the outputs on stored states; idea 7 of docs/studies/ours.md."""

from typing import Annotated

import torch
from pydantic import Field

from ril_bench import Method
from ril_bench.draws import generator


class Recall(Method):
    """One adapter for all tasks; each earlier reward is raised on stored states until it is predicted to have gained.

        loss   = -strength * mean over replayed states of <G, out_theta - out>     while gain_k < margin, else 0
        gain_k = moving average of that mean, over the updates that replay task k

    At the end of task k, `samples` visited states (x_t, t, prompt, out, G) are stored: G is the gradient of its reward
    of x0hat, in sigma, with respect to the output. Each update replays one earlier task.
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 1.0
        margin: Annotated[float, Field(ge=0)] = 0.5
        samples: Annotated[int, Field(ge=1)] = 64
        replayed: Annotated[int, Field(ge=1)] = 4
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.8

    def bind(self, model):
        self._model, self._memory, self._gains = model, [], []  # a list of states and a gain for each task
        self._key, self._updates = (), 0

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
        self._key, self._updates = task.key, 0
        self._gains = [0.0 for _ in self._memory]

    def weight_loss(self):
        if not self._memory:
            return None
        k = self._updates % len(self._memory)
        states, o = self._memory[k], self.options
        drawn = generator(self._key, "replay", self._updates).integers(len(states), size=o.replayed)
        gains = []
        for kept in (states[j] for j in drawn):
            moved = (
                self._model.predict(kept["x_t"], kept["t"], [kept["prompt"]], kept["guidance"])
                - kept["output"]
            )
            gains.append((kept["gradient"] * moved).sum())
        gain = torch.stack(gains).mean()
        self._gains[k] = o.decay * self._gains[k] + (1 - o.decay) * float(gain.detach())
        return -o.strength * gain if self._gains[k] < o.margin else None

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

    def state_dict(self):
        return {
            "memory": self._memory,
            "gains": self._gains,
            "key": list(self._key),
            "updates": self._updates,
        }

    def load_state_dict(self, state):
        self._memory, self._gains, self._key = (
            list(state["memory"]),
            list(state["gains"]),
            tuple(state["key"]),
        )
        self._updates = state["updates"]
