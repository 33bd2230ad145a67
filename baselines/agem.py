"""agem: averaged gradient episodic memory (A-GEM, Chaudhry et al. 2019, arXiv 1812.00420)."""

from ril_bench import Method, Plan


class Agem(Method):
    """One adapter for all tasks; an update gives up the part of its gradient that lowers the earlier rewards.  (oracle)

        g_ref = the gradient of the sum of rewards 1 .. i-1, at the same weights
        g_i   <- g_i - (g_i . g_ref / g_ref . g_ref) g_ref      where g_i . g_ref < 0

    Updates come in pairs: the first gives g_ref and moves nothing, the second moves the weights. So half of the updates
    of all tasks so far are steps. The length of g_ref does not matter, so a sum stands for the paper's mean. The paper
    takes it on a memory of examples [paper; code: aimagelab/mammoth], ours on new images [ours]. AdamW rescales the
    projected gradient, so a step is only nearly orthogonal. Carries g_ref and the adapter.
    """

    oracle = True

    def bind(self, model):
        self._model, self._tasks, self._reference = model, 1, {}  # g_ref by factor, between the two of a pair

    def plan(self, tasks, i):
        return Plan(weights=dict.fromkeys(range(1, i + 1), 1.0), updates="sum")

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
        self._tasks, self._reference = task.index, {}

    def turn(self, update):
        return range(1, self._tasks) if self._tasks > 1 and update % 2 == 0 else [self._tasks]

    def adjust_gradients(self):
        weights = self._model.adapter_parameters("adapter")
        if self._tasks > 1 and not self._reference:
            self._reference = {name: weight.grad for name, weight in weights.items()}
            for weight in weights.values():
                weight.grad = None  # AdamW then skips it
            return
        dot = sum((weights[name].grad * g_ref).sum() for name, g_ref in self._reference.items())
        if dot < 0:
            square = sum(g_ref.square().sum() for g_ref in self._reference.values())
            for name, g_ref in self._reference.items():
                weights[name].grad -= dot / square * g_ref
        self._reference = {}

    def state_dict(self):
        return {"tasks": self._tasks, "reference": self._reference}

    def load_state_dict(self, state):
        self._tasks, self._reference = state["tasks"], dict(state["reference"])
