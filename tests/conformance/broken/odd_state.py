from ril_bench import Method


class OddState(Method):
    """Its state holds a set, which a checkpoint cannot store."""

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def state_dict(self):
        return {"seen": {1, 2}}
