"""mapreduce: experts for each reward, merged again and again (after MapReduce LoRA, arXiv 2511.20629)."""

from pydantic import PositiveInt
from torch.nn.init import zeros_

from ril_bench import Method, Plan


class MapReduce(Method):
    """In rounds, an expert for each reward so far is tuned from the merged model, then all are averaged.  (oracle)

        delta_j = what `length` updates of reward j change, from the model of the round before      (j = 1 .. i)
        model   <- model + (delta_1 + .. + delta_i) / i

    Step i starts from the pretrained model and costs i budgets. The experts of a round take turns. Their factors B
    restart at 0 in each round, AdamW's moments go on [ours]. One round is soup. Carries all adapters.
    """

    oracle = True

    class Options(Method.Options):
        length: PositiveInt = 10
        """Updates of each reward in a round; the paper has 100 of a longer training [secondary]."""

    def bind(self, model):
        self._model, self._experts, self._done = model, [], 0

    def plan(self, tasks, i):
        return Plan(weights=dict.fromkeys(range(1, i + 1), 1.0), updates="sum", start="pretrained")

    def start_task(self, task, model):
        self._experts, self._done = [f"expert-{j}" for j in range(1, task.index + 1)], 0
        for name in self._experts:
            model.add_adapter(name, seed_key=task.key)
        self._activate(self._experts)

    def turn(self, update):
        now = update % len(self._experts)
        self._activate([self._experts[now]])
        return [1 + now]

    def _activate(self, experts):
        """Makes the mean of some experts act over the merged adapter; all experts keep their optimizers."""
        scales = {name: float(name not in self._experts) for name in self._model.adapters}
        self._model.activate(scales | dict.fromkeys(experts, 1 / len(experts)), train=self._experts)

    def adjust_gradients(self):
        for name, scale in self._model.active.items():
            for weight in () if scale else self._model.adapter_parameters(name).values():
                weight.grad = None  # AdamW then skips it

    def after_update(self):
        self._done += 1
        if self._done % (self.options.length * len(self._experts)) == 0:
            self._merge()
        self._activate(self._experts)  # criteria see the mean

    def _merge(self):
        """Adds the mean of the experts' deltas to the merged adapter, and restarts them."""
        model, share = self._model, 1 / len(self._experts)
        parts = [(share if name in self._experts else 1.0, model.delta(name)) for name in model.adapters]
        merged = {layer: sum(scale * delta[layer] for scale, delta in parts) for layer in parts[0][1]}
        if "merged" in model.adapters:
            model.delete_adapter("merged")
        model.add_delta("merged", merged)
        for name in self._experts:
            for weight in (w for k, w in model.adapter_parameters(name).items() if ".lora_B." in k):
                zeros_(weight)

    def end_task(self, task, model):
        self._merge()  # a round that was cut short counts; after a whole one the deltas are 0
        for name in self._experts:
            model.delete_adapter(name)
        model.activate({"merged": 1.0})

    def state_dict(self):
        return {"experts": self._experts, "done": self._done}

    def load_state_dict(self, state):
        self._experts, self._done = list(state["experts"]), state["done"]
