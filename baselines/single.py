"""single: each reward alone, from the pretrained model. The calibration computes the unit of a reward from it."""

from ril_bench import Method, Plan


class Single(Method):
    """A new adapter for each reward, without the adapters of the others: theta_i = argmax r_i from theta_0.

    Row i is the result of one task's budget for reward i alone; the last model has learned the last reward only.
    """

    def plan(self, tasks, i):
        return Plan(weights={i: 1.0}, start="pretrained")

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({name: 1.0}, train=[name])
