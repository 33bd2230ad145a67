"""mapreduce: experts for each reward, merged again and again (after MapReduce LoRA, arXiv 2511.20629)."""

from typing import Annotated

import torch
from pydantic import Field

from ril_bench import Method, Plan


class MapReduce(Method):
    """In rounds, an expert for each reward so far is tuned from the merged model, then all are averaged.  (oracle)

        delta_j = what `length` updates of reward j change, from the model of the round before      (j = 1 .. i)
        model   <- model + (delta_1 + .. + delta_i) / i

    Step i starts from the pretrained model. The experts take turns; none sees another within a round. Their factors B
    restart at 0 in each round, and the moments of AdamW go on [ours]. With one round this is soup. Step i costs i
    budgets, and uses earlier rewards again. Carries the experts and the merged adapters of all rounds.
    """

    oracle = True

    class Options(Method.Options):
        length: Annotated[int, Field(ge=1)] = 10
        """Updates of each reward in a round; the paper has 100 of a longer training [secondary]."""

    def bind(self, model):
        self._model, self._tasks, self._done = model, 1, 0

    def plan(self, tasks, i):
        return Plan(weights=dict.fromkeys(range(1, i + 1), 1.0), updates="sum", start="pretrained")

    def start_task(self, task, model):
        self._tasks, self._done = task.index, 0
        for j in range(1, task.index + 1):
            model.add_adapter(f"expert-{j}", seed_key=task.key)
        self._take_turns()

    def turn(self, update):
        return [1 + update % self._tasks]

    def _take_turns(self):
        """Makes the expert of the next update act, over the merged adapters; all experts keep their optimizers."""
        experts = [f"expert-{j}" for j in range(1, self._tasks + 1)]
        merged = {name: 1.0 for name in self._model.adapters if name not in experts}
        now = experts[self._done % self._tasks]
        self._model.activate({**merged, **dict.fromkeys(experts, 0.0), now: 1.0}, train=experts)

    def adjust_gradients(self):
        for j in range(1, self._tasks + 1):
            if j != 1 + self._done % self._tasks:
                for weight in self._model.adapter_parameters(f"expert-{j}").values():
                    weight.grad = None  # AdamW then skips it

    def after_update(self):
        self._done += 1
        if self._done % (self._tasks * self.options.length) == 0:
            self._merge()
        self._take_turns()

    @torch.no_grad()
    def _merge(self):
        """Adds the mean of the experts' deltas as an adapter, and restarts the experts."""
        model, experts = self._model, [f"expert-{j}" for j in range(1, self._tasks + 1)]
        deltas = [model.delta(name) for name in experts]
        mean = {layer: sum(delta[layer] for delta in deltas) / len(deltas) for layer in deltas[0]}
        model.add_delta(f"round-{self._done}", mean)
        for name in experts:
            for factor, weight in model.adapter_parameters(name).items():
                if ".lora_B." in factor:
                    weight.zero_()

    def end_task(self, task, model):
        if self._done % (self._tasks * self.options.length):
            self._merge()
        for j in range(1, self._tasks + 1):
            model.delete_adapter(f"expert-{j}")
        model.activate(dict.fromkeys(model.adapters, 1.0))

    def state_dict(self):
        return {"tasks": self._tasks, "done": self._done}

    def load_state_dict(self, state):
        self._tasks, self._done = state["tasks"], state["done"]
