"""replay: every update also raises the earlier rewards, at one task's budget."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method, Plan


class Replay(Method):
    """One adapter for all tasks; every update raises the earlier rewards as well.  (oracle)

    All rewards score the same images. In sigma, an update of task i raises

        (1 - share) r_i + share / (i - 1) (r_1 + .. + r_{i-1}).

    With criteria, the sum holds only the rewards that are below their criterion: an earlier reward returns when it is
    forgotten, and the task ends when all are met. Reward incremental learning forbids the use of earlier rewards.
    """

    oracle = True

    class Options(Method.Options):
        share: Annotated[float, Field(gt=0, lt=1)] = 0.5
        """Weight of all earlier rewards together, from the second task on."""

    def plan(self, tasks, i):
        if i == 1:
            return Plan(weights={1: 1.0})
        old = dict.fromkeys(range(1, i), self.options.share / (i - 1))
        return Plan(weights={**old, i: 1.0 - self.options.share})

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
