"""joint: all rewards so far at once. The upper reference to compare forgetting with."""

from ril_bench import Method, Plan


class Joint(Method):
    """Step i tunes the pretrained model on rewards 1 to i in turn, each with the budget of one task.  (oracle)

    It uses earlier rewards again, which reward incremental learning forbids.
    """

    oracle = True

    def plan(self, tasks, i):
        return Plan(weights=dict.fromkeys(range(1, i + 1), 1.0), updates=float(i), start="pretrained")

    def start_task(self, task, model):
        model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
