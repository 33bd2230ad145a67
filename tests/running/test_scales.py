"""A step's adapter at several scales: what is evaluated, stored and shown."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from safetensors.torch import load_file

from ril_bench.api.notebook import Run
from ril_bench.diffusion.folding import scaled
from ril_bench.errors import UserError
from ril_bench.running.evaluation import Evaluator
from ril_bench.sequences.sequence_file import load_sequence
from tests.tiny import PROMPTS, results, runner

SCALES = ["evaluation.scales=[0, .5, 1]"]


@pytest.fixture(scope="module")
def run(tiny_sequence, tmp_path_factory):
    return runner(tiny_sequence, tmp_path_factory.mktemp("scales"), settings=SCALES).execute()


def test_only_the_cost_of_a_run_changes(run, finished):
    kept = {name: data for name, data in results(run).items() if "scales" not in name}
    assert kept == results(finished)
    steps, plain = (json.loads((folder / "run.json").read_text())["steps"] for folder in (run, finished))
    images = 6 * 2 * 3  # guided, at 3 sampling steps
    for own, other in zip(steps[1:], plain[1:], strict=True):
        assert own["denoiser_forwards"] == other["denoiser_forwards"] + images
        assert own["training_calls"] == other["training_calls"]


def test_a_scale_is_the_adapter_with_a_part_of_its_change(run, tiny_model, tiny_sequence):
    lora = load_file(run / "step-2" / "adapter.safetensors")
    half = scaled(lora, 0.5)
    for key in lora:
        layer = key.rpartition(".lora_")[0]
        whole, part = (
            state[f"{layer}.lora_B.weight"] @ state[f"{layer}.lora_A.weight"] for state in (lora, half)
        )
        assert (part - 0.5 * whole).abs().max() < 1e-6
    stored = pd.read_parquet(run / "step-2" / "scales.parquet")
    sequence = load_sequence(tiny_sequence)
    rewards = {name: sequence.reward(name)() for name in sequence.rewards}
    evaluator = Evaluator(tiny_model, rewards, sequence, PROMPTS[:3])
    expected = evaluator.scores(evaluator.images(half), 2)
    assert (stored["scale"] == 0.5).all()
    pd.testing.assert_frame_equal(stored.drop(columns="scale"), expected, atol=0.5)


def test_the_ends_are_step_0_and_the_step_itself(run):
    found = Run(run)
    table = found.scales
    assert table.index.tolist() == [(step, scale) for step in (1, 2) for scale in (0.0, 0.5, 1.0)]
    for step in (1, 2):
        for scale, row in ((0.0, 0), (1.0, step)):
            assert table.loc[(step, scale)].to_dict() == found.matrix.loc[row].to_dict()
        own = pd.read_parquet(run / f"step-{step}" / "scales.parquet").groupby("reward")["score"].mean()
        assert table.loc[(step, 0.5)].to_dict() == pytest.approx(own.to_dict())


def test_the_page_draws_each_reward_over_the_scale(run):
    from ril_bench.reporting.run_page import write_page

    html = write_page(run).read_text()
    assert "Adapter scales" in html
    for reward in ("brightness", "symmetry"):
        assert f"Line plot of {reward} over the scale of the adapter: after brightness scale 0 " in html


def test_a_run_without_scales_has_none(finished):
    assert not (finished / "step-1" / "scales.parquet").exists()
    assert Run(finished).scales.empty
    assert Run(finished).metrics["scales"] is None


@pytest.mark.parametrize("scales", ["[]", "[1.5]", "[-0.5]", "half"])
def test_scales_out_of_range_are_refused(tiny_sequence, scales):
    with pytest.raises(UserError, match="scales"):
        load_sequence(tiny_sequence, {"evaluation.scales": json.loads(scales) if "[" in scales else scales})


def test_the_digest_of_a_sequence_without_scales_does_not_change(tiny_sequence):
    sequence = load_sequence(tiny_sequence)
    assert "scales" not in sequence.model_dump(mode="json")["evaluation"]
    assert load_sequence(tiny_sequence, {"evaluation.scales": [0.5]}).sha256 != sequence.sha256
