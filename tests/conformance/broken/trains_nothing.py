from ril_bench import Method


class TrainsNothing(Method):
    """Its adapter is active, but is not trained."""

    def start_task(self, task, model):
        model.add_adapter(f"task-{task.index}", seed_key=task.key)
        model.activate({f"task-{task.index}": 1.0})
