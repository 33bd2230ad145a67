"""An exported step, opened by diffusers and by the hub's own reader of model cards, and by nothing of this package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline
from huggingface_hub import ModelCard
from PIL import Image

import ril_bench
from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.reporting.export import _model_argument, model_card
from ril_bench.storage.names import IMAGES
from ril_bench.storage.read import read_whole_run
from tests import tiny
from tests.pipelines import LATENT, PIXELS, stable_diffusion_3, stable_diffusion_xl

LEVELS = 1  # of 255: PEFT adds B A x where the run's evaluation has folded B A into W


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory) -> Path:
    """Without noise inside the sampler, so that the latents alone decide an image."""
    folder = tmp_path_factory.mktemp("export")
    sampler = {"steps": 3, "guidance": 3.0, "eta": 0.0}
    sequence = tiny.write_sequence(folder / "still.yaml", tiny_data, sampler=sampler)
    return tiny.runner(sequence, folder / "runs").execute()


@pytest.fixture(scope="module")
def flow_run(tiny_data, tmp_path_factory) -> Path:
    """As `run`, on a transformer that matches a flow."""
    folder = tmp_path_factory.mktemp("export-flow")
    stable_diffusion_3().save_pretrained(folder / "model")
    changes = {"model": str(folder / "model"), "sampler": {"steps": 3, "guidance": 3.0, "eta": 0.0}}
    sequence = tiny.write_sequence(folder / "still.yaml", tiny_data, **changes)
    return tiny.runner(sequence, folder / "runs").execute()


def test_diffusers_draws_the_runs_own_images(run, tiny_pipeline, tmp_path):
    pipe = StableDiffusionPipeline.from_pretrained(tiny_pipeline, safety_checker=None)
    require_the_runs_images(pipe, run, tmp_path, eta=0.0)


def test_diffusers_draws_the_images_of_a_flow(flow_run, tmp_path):
    pipe = StableDiffusion3Pipeline.from_pretrained(
        flow_run.parents[5] / "model", text_encoder_3=None, tokenizer_3=None
    )
    require_the_runs_images(pipe, flow_run, tmp_path, max_sequence_length=pipe.tokenizer_max_length)


def require_the_runs_images(pipe, run, tmp_path, **of_kind):
    prompts = [one["prompt"] for one in json.loads((run / "prompts.json").read_text()) for _ in range(2)]
    samples = [(f"{i // 2:03d}", i % 2) for i in range(len(prompts))]
    latents = Draws((5, IMAGES), samples).normal("init", shape=LATENT)
    options = {"num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "np", **of_kind}
    before = pipe(prompts, latents=latents, **options).images
    for step in (1, 2):
        pipe.load_lora_weights(ril_bench.export(run, tmp_path / f"step-{step}", step=step))
        with torch.no_grad():
            drawn = (255 * pipe(prompts, latents=latents, **options).images).round()
        pipe.unload_lora_weights()
        files = [run / f"step-{step}" / "images" / f"{prompt_id}-{k}.png" for prompt_id, k in samples]
        own = np.stack([np.asarray(Image.open(file), dtype=float) for file in files])
        assert np.abs(drawn - own).max() <= LEVELS
        assert np.abs(255 * before - own).max() > 10 * LEVELS, "the LoRA must show"


def test_the_hub_reads_its_card(run, tmp_path):
    folder = ril_bench.export(run, tmp_path / "out", licence="openrail")
    card = ModelCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert data["library_name"] == "diffusers"
    assert data["license"] == "openrail"
    assert "base_model" not in data, "a folder of this machine is no model of the hub"
    assert {"lora", "text-to-image", "reward:brightness", "reward:symmetry"} <= set(data["tags"])
    values = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert values == pytest.approx(ril_bench.Run(run).matrix.loc[2].to_dict())
    assert "the model after step 2 of 2" in card.text
    assert "| brightness |" in card.text


def test_a_model_that_does_not_ship_has_no_licence_of_ours(run, tmp_path):
    card = ModelCard.load(ril_bench.export(run, tmp_path / "out", step=1) / "README.md")
    assert "license" not in card.data.to_dict()
    assert "reward:symmetry" not in card.data.tags
    assert "| symmetry (not trained yet) |" in card.text


def code_of(card: Path) -> str:
    """The Python code of a card."""
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL)
    return code


SMALL = PIXELS // 2


@pytest.mark.parametrize("family", ["stable diffusion", "sdxl", "sd3", "shapes-64", "shapes-flow"])
def test_the_code_of_a_card_works(family, run, flow_run, tiny_data, tmp_path, monkeypatch):
    """As it is written, in the card's folder."""
    if family == "sd3":
        run = flow_run
    elif family != "stable diffusion":
        model = family
        if family == "sdxl":
            model = str(tmp_path / "sdxl")
            stable_diffusion_xl().save_pretrained(model)
        changes = {"model": model, "tasks": [{"reward": "brightness"}], "budget": {"updates": 1, "batch": 1}}
        if family == "sdxl":
            changes["sampler"] = {**tiny_data["sampler"], "size": SMALL}
        evaluation = {**tiny_data["evaluation"], "prompts": 2, "images_per_prompt": 1}
        sequence = tiny.write_sequence(tmp_path / "one.yaml", tiny_data, **changes, evaluation=evaluation)
        run = tiny.runner(sequence, tmp_path / "runs").execute()
    folder = ril_bench.export(run, tmp_path / "out")
    monkeypatch.chdir(folder)
    exec(compile(code_of(folder / "README.md"), "README.md", "exec"), {})
    side = {"shapes-64": 64, "shapes-flow": 64, "sdxl": SMALL}.get(family, PIXELS)
    assert Image.open("image.png").size == (side, side)


def test_the_card_of_a_flow_states_that_its_sampler_has_no_noise(flow_run):
    read = read_whole_run(flow_run)
    assert "measured with this sampler, 3 steps, eta 0.0" in model_card(read, 1)
    read.info["sequence"]["sampler"]["eta"] = 0.5
    assert "with noise in each step (eta 0.5)" in model_card(read, 1)


def test_a_model_of_the_hub_is_loaded_at_its_revision():
    assert _model_argument("owner/name@abc") == '"owner/name", revision="abc"'
    assert _model_argument("owner/name") == '"owner/name"'
    assert _model_argument("./folder@home") == '"./folder@home"'


def test_what_cannot_be_exported(run, tmp_path):
    with pytest.raises(UserError, match="step 3 has no adapter") as error:
        ril_bench.export(run, tmp_path / "out", step=3)
    assert error.value.hint == "there is one of step-1, step-2"
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a file").touch()
    with pytest.raises(UserError, match="such a folder already"):
        ril_bench.export(run, tmp_path / "there")
    with pytest.raises(UserError, match=r"run\.json"):
        ril_bench.export(tmp_path / "there", tmp_path / "out")
    assert not (tmp_path / "out").exists()
