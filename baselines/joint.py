"""joint: all rewards so far at once. The upper reference to compare forgetting with."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method, Plan


class Joint(Method):
    """Step i tunes the pretrained model on rewards 1 to i at once: each update raises their sum in sigma.  (oracle)

    It has as many updates as its tasks have together. With criteria, the sum holds only the rewards below their
    criterion; the step ends when all are met, or after k times these updates. Reward incremental learning forbids the
    use of earlier rewards.
    """

    oracle = True

    class Options(Method.Options):
        k: Annotated[float, Field(ge=1)] = 2.0
        """Factor of the updates where all tasks have a criterion."""

    def plan(self, tasks, i):
        weights = dict.fromkeys(range(1, i + 1), 1.0)
        return Plan(weights=weights, updates="sum", extension=self.options.k, start="pretrained")

    def start_task(self, task, model):
        model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
