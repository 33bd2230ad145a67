"""Options of the arithmetic: which keep results, which are recorded, and too little memory."""

from __future__ import annotations

import copy

import pytest
import torch

from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.errors import NumericalError, OutOfMemoryError, UserError
from ril_bench.machine.compute import PLAIN, Compute, compute_of
from ril_bench.running.materials import Materials
from ril_bench.running.plan import plan_run
from ril_bench.running.progress import Reporter
from ril_bench.running.runner import Runner
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.tuners.draft import Draft
from tests.pipelines import stable_diffusion_xl
from tests.running.stopping import Stopping
from tests.tiny import (
    PROMPTS,
    LoraPerTask,
    Penalised,
    bound,
    gradients,
    runner,
    shaken,
    training,
    tuner,
)

SPEC = AdapterSpec(rank=2, alpha=3.0, targets=("to_q", "to_k", "to_v", "to_out.0"))
TUNERS = {
    "draft": {"name": "draft", "k": 2},
    "drtune": {"name": "drtune", "k": 2, "m": 1},
    "nabla_gflownet": {"name": "nabla_gflownet", "beta": 10.0, "units": "noise"},
}


def one_update(pipe, compute, options):
    """The gradient of one update, from adapter weights that are not zero."""
    model = DiffusionModel(copy.deepcopy(pipe), adapter=SPEC, compute=compute)
    trainer = training(model, bound(Penalised(), model), tuner=tuner(options), updates=1, batch=2)
    shaken(model)
    trainer.run(lambda line: None)
    return gradients(model)


@pytest.mark.parametrize("options", TUNERS.values(), ids=TUNERS)
def test_checkpointing_and_slicing_do_not_change_the_gradient(loaded_pipeline, options):
    plain, lean = (
        one_update(loaded_pipeline, compute, options)
        for compute in (PLAIN, Compute(checkpointing=True, slicing=True))
    )
    assert plain.norm() > 0
    assert (plain - lean).norm() < 1e-4 * plain.norm()


def test_checkpointing_sdxl_too():
    pipe = stable_diffusion_xl()
    plain, lean = (
        one_update(pipe, compute, TUNERS["draft"]) for compute in (PLAIN, Compute(checkpointing=True))
    )
    assert (plain - lean).norm() < 1e-4 * plain.norm()


def test_bfloat16_points_the_same_way(loaded_pipeline):
    plain, half = (
        one_update(loaded_pipeline, compute, TUNERS["draft"])
        for compute in (PLAIN, Compute(dtype="bfloat16"))
    )
    assert torch.nn.functional.cosine_similarity(plain, half, dim=0) > 0.99
    assert not torch.equal(plain, half)


def test_a_graph_that_is_checkpointed_is_open(loaded_pipeline):
    """Its blocks run again in the backward call; with other adapters the gradient would differ."""
    model = DiffusionModel(copy.deepcopy(loaded_pipeline), adapter=SPEC, compute=Compute(checkpointing=True))
    model.add_adapter("a", seed_key=(0,))
    model.activate({"a": 1.0}, train=["a"])
    eps = model.predict(torch.randn(1, *model.latent_shape), 501, PROMPTS[:1], 1.0)
    with pytest.raises(RuntimeError, match="while a graph is open"):
        model.activate({})
    eps.sum().backward()
    model.activate({})


# -- memory --------------------------------------------------------------------------------------------------


class Small(Draft):
    """DRaFT on a device with memory for `room` samples; the error comes at the end of the work."""

    def __init__(self, room):
        super().__init__(k=2)
        self.room, self.sizes = room, []

    def accumulate(self, model, task, batch):
        self.sizes.append(len(batch.prompts))
        log = super().accumulate(model, task, batch)
        if len(batch.prompts) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return log


def test_a_batch_that_does_not_fit_is_computed_in_smaller_parts(tiny_model):
    whole = copy.deepcopy(tiny_model)
    reference = training(whole, bound(Penalised(), whole), k=2, updates=1, batch=7, micro_batch=2)
    shaken(whole)
    reference.run(lambda line: None)
    small = training(tiny_model, bound(Penalised(), tiny_model), tuner=Small(2), updates=2, batch=7)
    small.updates = 1
    shaken(tiny_model)
    small.run(lambda line: None)
    assert small.tuner.sizes == [7, 4, 2, 2, 2, 1]
    assert small.micro_batch == 2
    assert torch.equal(gradients(tiny_model), gradients(whole))
    assert tiny_model.counter == whole.counter  # a failed attempt does not count in the budget
    small.updates = 2
    small.run(lambda line: None)
    assert small.tuner.sizes[6:] == [2, 2, 2, 1]


def test_one_sample_that_does_not_fit_ends_the_run(tiny_model):
    trainer = training(tiny_model, bound(LoraPerTask(), tiny_model), tuner=Small(0), updates=1, batch=4)
    with pytest.raises(OutOfMemoryError, match="too little memory for one sample") as caught:
        trainer.run(lambda line: None)
    assert trainer.tuner.sizes == [4, 2, 1]
    assert "--compute checkpointing=true" in caught.value.hint
    assert caught.value.kind == "memory"


def test_stored_images_are_used_as_often_in_smaller_parts(tiny_model):
    """An update that is repeated uses no images up."""
    options = {"name": "ddpo", "samples": 2, "reuse": 2}
    whole, parts = copy.deepcopy(tiny_model), copy.deepcopy(tiny_model)
    reference = training(
        whole, bound(LoraPerTask(), whole), tuner=tuner(options), updates=3, batch=4, micro_batch=2
    )
    reference.run(lambda line: None)
    trainer = training(parts, bound(LoraPerTask(), parts), tuner=tuner(options), updates=3, batch=4)
    accumulate, failed = trainer.tuner.accumulate, []

    def failing(model, task, batch):
        if len(batch.prompts) == 4 and trainer.update == 1:
            failed.append(accumulate(model, task, batch))
            raise torch.OutOfMemoryError
        return accumulate(model, task, batch)

    trainer.tuner.accumulate = failing
    trainer.run(lambda line: None)
    assert len(failed) == 1
    # Adam divides by the size of the gradient, so rounding shows in weights whose gradient is near 0.
    ours, theirs = (torch.cat([p.flatten() for p in model.parameters()]) for model in (parts, whole))
    assert (ours - theirs).norm() < 1e-3 * theirs.norm()
    calls = sum(batch * n for (kind, _, batch), n in parts.counter.items() if kind == "decode")
    assert calls == sum(batch * n for (kind, _, batch), n in whole.counter.items() if kind == "decode")


def test_a_run_reports_and_records_smaller_parts(tiny_sequence, tmp_path, monkeypatch):
    lines = []
    reporter = Reporter(quiet=True)
    monkeypatch.setattr(reporter, "say", lines.append)
    monkeypatch.setattr(Materials, "tuner", lambda self, i: Small(1))
    run = runner(tiny_sequence, tmp_path, reporter=reporter)
    run.execute()
    (line,) = [line for line in lines if "out of memory" in line]
    assert "1 of 2 samples at once" in line
    assert run.folder.read_run()["micro_batch"] == 1


def test_a_run_that_is_continued_keeps_its_smaller_parts(tiny_sequence, tmp_path, monkeypatch):
    tuners = []
    monkeypatch.setattr(Materials, "tuner", lambda self, i: tuners.append(Small(1)) or tuners[-1])
    with pytest.raises(KeyboardInterrupt):
        runner(tiny_sequence, tmp_path, reporter=Stopping(4)).execute()
    assert 2 in {size for tuner in tuners for size in tuner.sizes}
    tuners.clear()
    runner(tiny_sequence, tmp_path).execute()
    assert {size for tuner in tuners for size in tuner.sizes} == {1}


# -- what is recorded ----------------------------------------------------------------------------------------


def test_number_formats_are_recorded_and_kept(tiny_sequence, tmp_path, monkeypatch):
    plan = plan_run(tiny_sequence, "naive")

    def executed(compute):
        run = Runner(plan, tmp_path, threads=1, compute=compute, account=False, reporter=Reporter(quiet=True))
        run.execute()
        return run

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_start_task", fails)
        with pytest.raises(NumericalError):
            executed(Compute(dtype="bfloat16", checkpointing=True))
    resumed = executed(None)
    assert resumed.materials.model.dtype == torch.bfloat16
    assert resumed.folder.read_run()["hardware"]["compute"] == {"dtype": "bfloat16", "vae_dtype": "float32"}
    executed(Compute(dtype="bfloat16", slicing=True))  # the run is complete: nothing is computed
    with pytest.raises(UserError, match="this run began in") as caught:
        executed(PLAIN)
    assert "--compute" in caught.value.hint


def fails(*_):
    raise NumericalError("on purpose")


def test_a_sequence_does_not_hold_these_options(tiny_sequence):
    assert "compute" not in load_sequence(tiny_sequence).model_dump()
    assert "dtype" not in str(load_sequence(tiny_sequence).model_dump())


def test_options_are_read_as_settings_are():
    assert compute_of([]) == PLAIN
    assert compute_of(["dtype=bfloat16", "checkpointing=true"]) == Compute(
        dtype="bfloat16", checkpointing=True
    )
    with pytest.raises(UserError, match="--compute dtype: dtype: should be 'float32' or 'bfloat16'"):
        compute_of(["dtype=float16"])
    with pytest.raises(UserError, match="write it as key=value"):
        compute_of(["bfloat16"])
