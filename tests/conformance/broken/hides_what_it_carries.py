from ril_bench import Method


class HidesWhatItCarries(Method):
    """It keeps a copy of the weights, and its state_dict does not return the copy."""

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def end_task(self, task, model):
        self._kept = [weight.detach().clone() for weight in model.adapter_parameters("adapter").values()]
