"""Parts that are each whole, and made for different models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel

from ril_bench.diffusion.configs import check_folder
from ril_bench.errors import UserError
from ril_bench.metrics.structure import WINDOW, ssim
from tests.pipelines import (
    autoencoder,
    denoiser,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
    text_config,
    tokenizer,
)

BUILD = {"sd": stable_diffusion, "sdxl": stable_diffusion_xl, "sd3": stable_diffusion_3}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that saves a kind of pipeline into a new folder."""
    whole = {}
    for kind, build in BUILD.items():
        whole[kind] = tmp_path_factory.mktemp(kind) / "model"
        build().save_pretrained(whole[kind])
    return lambda kind: Path(shutil.copytree(whole[kind], tmp_path_factory.mktemp(kind) / "model"))


def edit(file: Path, **changes: Any) -> None:
    """None removes a key."""
    content = json.loads(file.read_text()) | changes
    gone = [key for key, value in changes.items() if value is None]
    file.write_text(json.dumps({key: value for key, value in content.items() if key not in gone}))


@pytest.mark.parametrize("kind", BUILD)
def test_the_parts_of_one_model_fit(saved: Callable[[str], Path], kind: str) -> None:
    check_folder(saved(kind))


@pytest.mark.parametrize("length", [77, 17, 2, 1, 0, -1, None, 1e30, 2.5, True, "x", [3]])
@pytest.mark.parametrize("kind", ["sd", "sd3"])
def test_a_length_of_prompts_that_the_encoder_cannot_read(
    saved: Callable[[str], Path], kind: str, length: Any
) -> None:
    folder = saved(kind)
    config = folder / "tokenizer" / "tokenizer_config.json"
    edit(config, model_max_length=length)
    with pytest.raises(
        UserError, match=r"model_max_length of the tokenizer is .* reads 3 to 16 tokens"
    ) as caught:
        check_folder(folder)
    assert caught.value.where == str(config)
    assert '"model_max_length": 16' in str(caught.value.hint)


@pytest.mark.parametrize("length", [3, 16])
def test_a_length_of_prompts_that_the_encoder_can_read(saved: Callable[[str], Path], length: int) -> None:
    folder = saved("sd")
    edit(folder / "tokenizer" / "tokenizer_config.json", model_max_length=length)
    check_folder(folder)


@pytest.mark.parametrize("kind", ["sdxl", "sd3"])
def test_tokenizers_of_different_lengths(saved: Callable[[str], Path], kind: str) -> None:
    folder = saved(kind)
    edit(folder / "tokenizer_2" / "tokenizer_config.json", model_max_length=8)
    with pytest.raises(UserError, match="different numbers of tokens: tokenizer 16, tokenizer_2 8"):
        check_folder(folder)


@pytest.mark.parametrize("missing", [1, 20])
def test_a_tokenizer_of_a_larger_vocabulary(saved: Callable[[str], Path], missing: int) -> None:
    folder, known = saved("sd"), len(tokenizer()) - missing
    CLIPTextModel(text_config(vocab_size=known)).save_pretrained(folder / "text_encoder")
    with pytest.raises(
        UserError, match=f"up to number {known + missing - 1}, and the text_encoder knows {known}"
    ):
        check_folder(folder)


def test_a_tokenizer_that_cannot_be_read(saved: Callable[[str], Path]) -> None:
    folder = saved("sd")
    for file in (folder / "tokenizer").iterdir():
        file.write_text("[]")
    with pytest.raises(UserError, match="the tokenizer cannot be read") as caught:
        check_folder(folder)
    assert caught.value.where == str(folder / "tokenizer")


@pytest.mark.parametrize("size", [1, 2, [1, 64], [64, 2]])
def test_images_that_are_too_small_for_the_metrics(saved: Callable[[str], Path], size: Any) -> None:
    folder = saved("sd")
    edit(folder / "unet" / "config.json", sample_size=size)
    with pytest.raises(UserError, match="pixels, and the metrics need 11 x 11") as caught:
        check_folder(folder)
    assert "sample_size is at least 3" in str(caught.value.hint)


def test_the_smallest_images(saved: Callable[[str], Path]) -> None:
    folder = saved("sd")
    edit(folder / "unet" / "config.json", sample_size=3)
    check_folder(folder)
    image = torch.rand(1, 3, WINDOW, WINDOW)
    assert ssim(image, image) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="H>=11"):
        ssim(image[..., 1:], image[..., 1:])


def test_latents_of_different_channels(saved: Callable[[str], Path]) -> None:
    for folder, part in (
        (saved("sd"), denoiser(in_channels=9, mid_block_type=None)),
        (saved("sd"), autoencoder(latent_channels=8)),
    ):
        part.save_pretrained(folder / ("vae" if isinstance(part, AutoencoderKL) else "unet"))
        with pytest.raises(UserError, match="different numbers of channels: input of the unet"):
            check_folder(folder)


def test_embeddings_of_another_width(saved: Callable[[str], Path]) -> None:
    folder = saved("sd")
    CLIPTextModel(text_config(hidden_size=32)).save_pretrained(folder / "text_encoder")
    with pytest.raises(
        UserError, match="cross_attention_dim of the unet is 16, and the text encoders give 32"
    ):
        check_folder(folder)


@pytest.mark.parametrize(
    ("kind", "projection", "key"),
    [("sdxl", 16, "projection_class_embeddings_input_dim"), ("sd3", 16, "pooled_projection_dim")],
)
def test_pooled_vectors_of_another_width(
    saved: Callable[[str], Path], kind: str, projection: int, key: str
) -> None:
    folder = saved(kind)
    encoder = BUILD[kind]().text_encoder_2
    config = text_config(
        num_hidden_layers=2, hidden_size=encoder.config.hidden_size, projection_dim=projection
    )
    type(encoder)(config).save_pretrained(folder / "text_encoder_2")
    with pytest.raises(UserError, match=f"{key} of the (unet|transformer) is"):
        check_folder(folder)
