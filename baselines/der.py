"""der: dark experience replay (Buzzega et al. 2020, arXiv 2004.07211), for the outputs of a denoiser."""

from typing import Annotated

import torch
from pydantic import Field

from ril_bench import Method
from ril_bench.draws import generator


class Der(Method):
    """One adapter for all tasks, which keeps what earlier models predicted on states that they visited.

        loss = strength * mean over `replayed` stored (x_t, t, prompt, out) of (out_theta(x_t, t, prompt) - out)^2

    At the end of each task, `samples` visited states are stored, with the denoiser's output there. An
    update draws from the states of all earlier tasks [code: aimagelab/mammoth]; that code draws its memory of fixed
    size from the training itself, here it grows with the tasks [ours]. It keeps states and prompts, and no reward.
    Carries the stored states, the outputs and the adapter.
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 10.0
        """Weight of the loss beside rewards in sigma, as tuned (der.tuning.json)."""
        samples: Annotated[int, Field(ge=1)] = 64
        """States that are stored for each task."""
        replayed: Annotated[int, Field(ge=1)] = 4
        """Stored states in each update; each costs one call with gradient."""

    def bind(self, model):
        self._model, self._memory = model, []  # [{x_t, output: (1, C, h, w), t, prompt, guidance}]
        self._key, self._updates = (), 0

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
        self._key, self._updates = task.key, 0

    def weight_loss(self):
        if not self._memory:
            return None
        drawn = generator(self._key, "replay", self._updates).integers(
            len(self._memory), size=self.options.replayed
        )
        errors = []
        for kept in (self._memory[k] for k in drawn):
            out = self._model.predict(kept["x_t"], kept["t"], [kept["prompt"]], kept["guidance"])
            errors.append((out - kept["output"]).square().mean())
        return self.options.strength * torch.stack(errors).mean()

    def after_update(self):
        self._updates += 1

    def end_task(self, task, model):
        for state in task.states(model, self.options.samples):
            p = state.prediction
            kept = {"x_t": p.x_t.clone(), "output": p.output.detach(), "t": p.t, "prompt": p.prompts[0]}
            self._memory.append({**kept, "guidance": p.guidance})

    def state_dict(self):
        return {"memory": self._memory, "key": list(self._key), "updates": self._updates}

    def load_state_dict(self, state):
        self._memory, self._key = list(state["memory"]), tuple(state["key"])
        self._updates = state["updates"]
