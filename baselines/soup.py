"""soup: rewarded soups (Rame et al. 2023, arXiv 2306.04488): the mean of models tuned on one reward each."""

from ril_bench import Method


class Soup(Method):
    """theta_i = theta_0 + (delta_1 + .. + delta_i) / i, each delta trained alone, from the pretrained model.

    Deltas are averaged, not factors: all adapters are active, each at scale 1/i. The weights are equal; the paper
    chooses them afterwards, by a user's preference, which this benchmark does not have [ours].
    """

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({name: 1.0}, train=[name])

    def end_task(self, task, model):
        model.activate(dict.fromkeys(model.adapters, 1.0 / len(model.adapters)))
