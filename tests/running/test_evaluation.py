"""The evaluation: keyed draws, the order of images and scores, and errors."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from ril_bench.draws import Draws
from ril_bench.errors import NumericalError
from ril_bench.rewards.base import Reward
from ril_bench.rewards.pixels import Brightness, Symmetry
from ril_bench.running import evaluation
from ril_bench.running.evaluation import Evaluator, png
from ril_bench.scoring.matrix import matrix
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage.names import FID_REFERENCE
from tests.pipelines import PIXELS
from tests.tiny import PROMPTS


@pytest.fixture
def sequence(tiny_sequence):
    return load_sequence(tiny_sequence)


@pytest.fixture
def evaluator(tiny_model, sequence):
    return Evaluator(tiny_model, {"brightness": Brightness(), "symmetry": Symmetry()}, sequence, PROMPTS[:3])


@pytest.fixture
def lora(tiny_model):
    """The tensors of a step's file, with a LoRA that changes every layer."""
    generator = torch.Generator().manual_seed(0)
    tiny_model.add_adapter("some", seed_key=("test",))
    with torch.no_grad():
        for parameter in tiny_model.adapter_parameters("some").values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    tiny_model.activate({"some": 0.5})
    return load(tiny_model.lora_bytes())


def test_ids_and_samples(evaluator):
    assert evaluator.prompt_ids == ["000", "001", "002"]
    assert evaluator.samples == [(prompt, number) for prompt in evaluator.prompt_ids for number in (0, 1)]
    assert evaluator.prompts == [prompt for prompt in PROMPTS[:3] for _ in (0, 1)]


def test_the_same_images_whatever_the_batch(evaluator, lora, monkeypatch):
    whole = evaluator.images(lora)
    assert (whole.shape, whole.dtype) == ((6, 3, PIXELS, PIXELS), torch.uint8)
    for batch in (4, 1):
        monkeypatch.setattr(evaluation, "BATCH", batch)
        parts = evaluator.images(lora)
        assert (parts.int() - whole.int()).abs().max() <= 1
        expected, found = (evaluator.scores(images, 1) for images in (whole, parts))
        assert found.drop(columns="score").equals(expected.drop(columns="score"))
        np.testing.assert_allclose(found["score"], expected["score"], atol=0.1)


def test_an_image_depends_only_on_its_own_prompt_and_sample(evaluator, tiny_model, sequence):
    fewer = Evaluator(tiny_model, {"brightness": Brightness()}, sequence, PROMPTS[:1])
    assert (fewer.images({}).int() - evaluator.images({})[:2].int()).abs().max() <= 1


def test_latents_depend_on_sample_purpose_and_seed(evaluator, tiny_model, sequence):
    images = evaluator.images({})
    assert torch.equal(images, evaluator.images({}))
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images, evaluator.images({}, FID_REFERENCE))
    other = sequence.evaluation.model_copy(update={"seed": 6})
    seeded = Evaluator(tiny_model, {}, sequence.model_copy(update={"evaluation": other}), PROMPTS[:3])
    assert not torch.equal(images, seeded.images({}))


def test_the_file_of_a_step_is_evaluated_and_not_the_active_adapters(evaluator, tiny_model, lora):
    with_file, without = evaluator.images(lora), evaluator.images({})
    assert not torch.equal(with_file, without)
    tiny_model.activate({})
    assert torch.equal(evaluator.images(lora), with_file)
    assert torch.equal(evaluator.images({}), without)


def test_weights_that_are_not_finite_raise_an_error_and_no_black_images(evaluator, lora):
    broken = {key: value * 1e30 for key, value in lora.items()}
    with pytest.raises(NumericalError, match="not finite") as caught:
        evaluator.images(broken)
    assert "prompt 000" in caught.value.where


# -- drift ---------------------------------------------------------------------------------------------------


def test_drift_is_the_kl_of_the_images_rollouts_and_leaves_the_images_as_they_are(
    evaluator, tiny_model, lora
):
    half = {key: value * (0.5 if "lora_B" in key else 1.0) for key, value in lora.items()}
    found = evaluator.generate(lora, {"to_0": {}, "half": half})
    assert torch.equal(found.images, evaluator.images(lora))
    assert evaluator.drift_positions == list(range(6))
    # by hand: the same chain, with the mean of every step by the formula of the sampler
    ddim, draws = evaluator.sampler, Draws((5, "images"), evaluator.samples)
    x = draws.normal("init", shape=tiny_model.latent_shape)
    expected = {"to_0": torch.zeros(6), "half": torch.zeros(6)}

    def predicted(state, t):
        with torch.no_grad(), tiny_model.folded_lora(state):
            return tiny_model.predict(x, t, evaluator.prompts, evaluator.guidance)

    for i, t in enumerate(ddim.timesteps):
        eps = predicted(lora, t)
        for name, state in (("to_0", {}), ("half", half)):
            gap = (ddim.b[i] * (eps - predicted(state, t))).flatten(1)
            expected[name] += gap.square().sum(1) / (2 * ddim.sigma[i] ** 2)
        x = ddim.step(x, eps, i, draws.normal("step", i, shape=tiny_model.latent_shape))
    for name, values in expected.items():
        torch.testing.assert_close(found.drift[name].float(), values, rtol=1e-3, atol=1e-4)


def test_a_model_that_was_not_changed_has_no_drift(evaluator, tiny_model):
    tiny_model.add_adapter("new", seed_key=("test",))
    tiny_model.activate({"new": 1.0})
    untouched = load(tiny_model.lora_bytes())
    drift = evaluator.generate(untouched, {"to_0": {}, "itself": untouched}).drift
    assert all(values.abs().max() < 1e-6 for values in drift.values())


def test_drift_is_measured_on_rollouts_that_are_spread_evenly_whatever_the_batch(
    evaluator, lora, monkeypatch
):
    whole = evaluator.generate(lora, {"to_0": {}}).drift["to_0"]
    monkeypatch.setattr(evaluation, "DRIFT_ROLLOUTS", 3)
    assert evaluator.drift_positions == [0, 2, 4]
    for batch in (32, 4, 1):
        monkeypatch.setattr(evaluation, "BATCH", batch)
        drift = evaluator.generate(lora, {"to_0": {}}).drift
        torch.testing.assert_close(drift["to_0"], whole[[0, 2, 4]], rtol=1e-3, atol=1e-4)
        table = evaluator.drift_table(drift)
        assert table["prompt_id"].tolist() == evaluator.prompt_ids
        assert table["sample"].tolist() == [0, 0, 0]
        assert table["to_0"].tolist() == drift["to_0"].tolist()


# -- scores --------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_rewards(evaluator):
    images = torch.randint(0, 256, (6, 3, PIXELS, PIXELS), generator=torch.Generator().manual_seed(0)).byte()
    scores = evaluator.scores(images, 2)
    assert list(scores) == ["step", "reward", "prompt_id", "sample", "score", "trained"]
    assert scores["reward"].tolist() == ["brightness"] * 6 + ["symmetry"] * 6
    assert list(zip(scores["prompt_id"][:6], scores["sample"][:6], strict=True)) == evaluator.samples
    assert (scores["step"] == 2).all()
    assert scores["trained"].all()
    np.testing.assert_allclose(scores["score"][:6], images.double().mean((1, 2, 3)), rtol=1e-5)


def test_a_probe_is_not_trained(tiny_model, sequence):
    both = Evaluator(tiny_model, {"brightness": Brightness(), "other": Symmetry()}, sequence, PROMPTS[:3])
    scores = both.scores(torch.zeros(6, 3, PIXELS, PIXELS).byte(), 0)
    assert scores.groupby("reward")["trained"].all().to_dict() == {"brightness": True, "other": False}


class NotANumber(Reward):
    name = "broken"
    unit = "-"

    def score(self, images, prompts):
        scores = images.mean((1, 2, 3))
        scores[3] = torch.nan
        return scores


def test_a_score_that_is_not_finite_is_refused_with_its_place(tiny_model, sequence):
    rewards = {"brightness": Brightness(), "broken": NotANumber()}
    with pytest.raises(NumericalError, match="the reward broken") as caught:
        Evaluator(tiny_model, rewards, sequence, PROMPTS[:3]).scores(
            torch.zeros(6, 3, PIXELS, PIXELS).byte(), 2
        )
    assert caught.value.where == "step 2, prompt 001, sample 1"


def test_files_are_png_and_read_back_to_the_same_images(evaluator):
    images = torch.randint(0, 256, (6, 3, PIXELS, PIXELS), generator=torch.Generator().manual_seed(1)).byte()
    files = evaluator.files(images)
    assert list(files) == [f"images/{prompt}-{number}.png" for prompt, number in evaluator.samples]
    for image, data in zip(images, files.values(), strict=True):
        assert torch.equal(torch.from_numpy(np.array(Image.open(io.BytesIO(data)))).permute(2, 0, 1), image)
    assert png(images[0]) == files["images/000-0.png"]


def test_the_matrix_has_the_means_with_rows_by_step_and_columns_in_the_order_of_the_table():
    rows = [(1, "b", "000", 4.0), (1, "b", "001", 6.0), (1, "a", "000", 1.0), (1, "a", "001", 3.0)]
    rows += [(0, "b", "000", 0.0), (0, "b", "001", 1.0), (0, "a", "000", -1.0), (0, "a", "001", -2.0)]
    found = matrix(pd.DataFrame(rows, columns=["step", "reward", "prompt_id", "score"]))
    expected = pd.DataFrame({"b": [0.5, 5.0], "a": [-1.5, 2.0]}, index=pd.Index([0, 1], name="step"))
    pd.testing.assert_frame_equal(found, expected)
