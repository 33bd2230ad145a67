"""kl: reward tuning with a penalty on the divergence from a frozen model (DPOK, Fan et al. 2023, arXiv 2305.16381)."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from ril_bench import Method
from ril_bench.diffusion.drift import step_kl
from ril_bench.machine.parallel import team

GAIN, LIMIT = 0.1, 0.2  # of the controller (Ziegler et al. 2019, arXiv 1909.08593) [memory]


class Kl(Method):
    """A new LoRA for each reward, kept close to a frozen model: the anchor.

        KL   = b^2 |out_theta - out_anchor|^2 / (2 sigma^2)     of one step of the sampler, in nats
        loss = strength * mean of KL over the tuner's differentiated predictions

    as in DPOK and Flow-GRPO (arXiv 2505.05470), which take the mean over the latents' entries, not the sum [code].
    Summed over all steps, KL is the divergence of the two sampling chains. With `target`, the strength follows after
    each update: strength <- strength (1 + .1 clip(KL / target - 1, -.2, .2)). The sampler needs eta > 0. With the
    anchor `previous` this is lwf on the output, each step with its own weight. Carries the adapters.
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 0.001
        """Weight of the loss, for a reward in sigma and a KL in nats, as tuned (kl.tuning.json) for one tuner."""
        anchor: Literal["pretrained", "previous"] = "pretrained"
        """The frozen model: the pretrained one, or the one before the task."""
        target: Annotated[float, Field(gt=0)] | None = None
        """The KL of a step, in nats, that the strength is steered to; null keeps the strength [ours]."""

    needs = frozenset({"random_steps"})

    def bind(self, model):
        self._model, self._strength, self._seen = model, self.options.strength, []

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({**model.active, name: 1.0}, train=[name])
        self._strength, self._seen = self.options.strength, []

    def prediction_loss(self, prediction):
        model, inputs = self._model, (prediction.x_t, prediction.t, prediction.prompts, prediction.guidance)
        anchor = {} if self.options.anchor == "pretrained" else model.active
        anchor = {name: scale for name, scale in anchor.items() if name not in model.trained}
        with torch.no_grad(), model.folded(anchor):
            other = model.predict(*inputs)
        kl = step_kl(prediction.sampler, prediction.output, other, prediction.step)
        self._seen += kl.tolist()
        return self._strength * kl.mean()

    def after_update(self):
        if self.options.target is not None:
            seen = [kl for part in team().gathered(lambda: self._seen) for kl in part]  # of all processes
            # an update may differentiate no prediction, and then says nothing
            excess = sum(seen) / len(seen) / self.options.target - 1 if seen else 0.0
            self._strength *= 1 + GAIN * min(max(excess, -LIMIT), LIMIT)
        self._seen = []

    def state_dict(self):
        return {"strength": self._strength}

    def load_state_dict(self, state):
        self._strength = state["strength"]
