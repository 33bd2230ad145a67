from ril_bench import Method, Plan


class ReplaysInSecret(Method):
    """It trains on earlier rewards, but does not state oracle = True."""

    def plan(self, tasks, i):
        return Plan(weights=dict.fromkeys(range(1, i + 1), 1.0))

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
