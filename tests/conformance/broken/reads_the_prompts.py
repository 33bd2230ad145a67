from ril_bench import Method


class ReadsThePrompts(Method):
    """It reads the prompts of a task, which a method must not read."""

    def start_task(self, task, model):
        self._prompts = list(task.prompts)
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
