"""naive: one adapter, tuned on from reward to reward. What every method is compared with."""

from ril_bench import Method


class Naive(Method):
    """Sequential fine-tuning: theta_i = argmax r_i, started from theta_{i-1}; nothing protects the past."""

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
