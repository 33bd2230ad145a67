"""Tuners on a denoiser in bfloat16."""

from __future__ import annotations

import torch

from ril_bench.diffusion.adapter_spec import AdapterSpec
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import predict_step
from ril_bench.draws import Draws
from ril_bench.machine.compute import Compute
from ril_bench.tuners.base import MicroBatch
from ril_bench.tuners.ddpo import Ddpo
from tests import tiny


def test_the_first_update_of_ddpo_in_half_precision_is_that_of_reinforce(tiny_pipeline):
    """rho is 1 exactly: the model that sampled and the model that is trained round alike."""
    spec = AdapterSpec(rank=2, alpha=2.0, targets=("to_q", "to_v"))
    model = DiffusionModel.load(str(tiny_pipeline), adapter=spec, compute=Compute(dtype="bfloat16"))
    model.add_adapter("a", seed_key=(1,))
    model.activate({"a": 1.0}, train=["a"])
    tiny.shaken(model)
    task = tiny.reward_task(model)
    batch = MicroBatch(tiny.PROMPTS, Draws((1,), range(4)))
    tuner = Ddpo(samples=2)
    tuner.start_task(task, model)
    (copy, _) = tuner.trajectories(model, task, batch)[1]
    for i in range(task.sampler.steps):
        live = predict_step(model, task.sampler, copy.x[i], i, tiny.PROMPTS, task.guidance).output
        assert torch.equal(live.detach(), copy.outputs[i])
