"""lora_per_task: an adapter for each reward, the earlier ones frozen, all of them summed."""

from ril_bench import Method


class LoraPerTask(Method):
    """theta_i = theta_0 + delta_1 + .. + delta_i, delta_i trained on reward i alone; RID without its distillation.

    What was learned stays in the weights; nothing keeps a later delta from undoing it.
    """

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({**model.active, name: 1.0}, train=[name])
