"""Folders of models: what is needed, and what is wrong with them, without a traceback."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from ril_bench.diffusion.configs import check_folder
from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.errors import UserError
from ril_bench.remote.model import is_whole

SPEC = AdapterSpec(rank=2, alpha=2.0, targets=("to_q",))
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture
def folder(tiny_pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pipeline, tmp_path / "model"))


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def renamed(folder: Path, ending: str, alone: bool = False) -> None:
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_suffix(f".{ending}" + ".safetensors" * (not alone)))


#: values of configs that no model has
VALUES: dict[str, dict[str, Any]] = {
    "scheduler/scheduler_config.json": {
        "num_train_timesteps": [0, 1, 2, "x", None, True, 10**9, 2.5],
        "beta_start": ["x", None, -1, 2, float("nan"), 10**400],
        "beta_end": ["x", None, float("inf")],
        "beta_schedule": ["none", None, 3],
        "trained_betas": ["x", [0.1, "x"], [2.0], {"a": 1}],
    },
    "vae/config.json": {
        "scaling_factor": [None, "a", 0, float("nan")],
        "latents_mean": ["x", [1.0], [None] * 4],
        "latents_std": [3, {}, [1.0], [0, 1, 1, 1], [1, 1, 1, -1]],
    },
}


WRONG: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "LFS": (
        lambda folder: (folder / "text_encoder/model.safetensors").write_text(POINTER),
        "pointer of Git LFS",
        "text_encoder/model.safetensors",
    ),
    "cut": (
        lambda folder: (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"\x08\0\0"),
        "not a whole file of weights",
        "unet/diffusion_pytorch_model.safetensors",
    ),
    "no betas": (
        lambda folder: (folder / "scheduler/scheduler_config.json").write_text(
            '{"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}'
        ),
        "the scheduler FlowMatchEulerDiscreteScheduler of the model has no betas",
        "scheduler/scheduler_config.json",
    ),
    "variant": (
        lambda folder: renamed(folder, "fp16"),
        "only as a variant: model.fp16.safetensors",
        "text_encoder",
    ),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "cannot be read", "model_index.json"),
    "list": (lambda folder: (folder / "model_index.json").write_text("[]"), "expected a JSON object", ""),
    "float size": (
        lambda folder: edit(folder / "unet/config.json", sample_size=16.5),
        "sample_size is 16.5",
        "",
    ),
    "size of a truth value": (
        lambda folder: edit(folder / "unet/config.json", sample_size=True),
        "sample_size is True",
        "",
    ),
    "huge size": (
        lambda folder: edit(folder / "unet/config.json", sample_size=10**9),
        "sample_size is 1000000000",
        "",
    ),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "no tokenizer", "tokenizer"),
    "no weights": (
        lambda folder: (folder / "vae/diffusion_pytorch_model.safetensors").unlink(),
        "no weights of vae",
        "vae",
    ),
    "pickles": (
        lambda folder: renamed(folder, "bin", alone=True),
        "only as a pickle: model.bin",
        "text_encoder",
    ),
    "pointer of a config": (
        lambda folder: (folder / "vae/config.json").write_text(POINTER),
        "pointer of Git LFS",
        "vae/config.json",
    ),
    "pointer of a vocabulary": (
        lambda folder: (folder / "tokenizer/tokenizer.json").write_text(POINTER),
        "pointer of Git LFS",
        "tokenizer/tokenizer.json",
    ),
    "an unknown class": (
        lambda folder: edit(folder / "model_index.json", vae=["diffusers", "Nothing"]),
        "no vae of the kind diffusers.Nothing could be loaded",
        "model_index.json",
    ),
    "shards without an index": (
        lambda folder: (folder / "unet/diffusion_pytorch_model.safetensors").rename(
            folder / "unet/diffusion_pytorch_model-00001-of-00001.safetensors"
        ),
        "only as shards without their index",
        "unet",
    ),
    "a config that builds nothing": (
        lambda folder: edit(folder / "unet/config.json", down_block_types=3),
        "no UNet2DConditionModel can be built from this config",
        "unet/config.json",
    ),
    "no size": (
        lambda folder: edit(folder / "unet/config.json", sample_size=None),
        "sample_size is None",
        "",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_folder_that_does_not_fit_is_refused(folder: Path, case: str) -> None:
    change, what, where = WRONG[case]
    change(folder)
    with pytest.raises(UserError, match=what) as caught:
        DiffusionModel.load(folder, adapter=SPEC)
    assert where in str(caught.value.where)
    assert caught.value.hint


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_a_config_that_does_not_fit_is_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_text()
    for key, values in VALUES[name].items():
        for value in values:
            edit(folder / name, **{key: value})
            with pytest.raises(UserError, match="does not fit") as caught:
                check_folder(folder)
            assert key in caught.value.what
            assert caught.value.where == str(folder / name)
            (folder / name).write_text(whole)
    check_folder(folder)


@pytest.mark.parametrize(
    "kind", [["pipeline_x", "StableDiffusionPipeline"], None, 3, True, {"a": 1}, "x" * 999]
)
def test_a_pipeline_of_no_known_class_is_refused(folder: Path, kind: Any) -> None:
    """A list names code that comes with the model, which is not run."""
    edit(folder / "model_index.json", _class_name=kind)
    with pytest.raises(UserError, match="cannot be trained here") as caught:
        check_folder(folder)
    assert caught.value.where == str(folder / "model_index.json")


OTHER_KINDS = (
    None,
    "x",
    3,
    {},
    [],
    ["diffusers"],
    [1, 2],
    ["unet_x", "UNet2DConditionModel"],
    ["transformers", "pipeline"],
)


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer", "unet", "vae", "scheduler"])
@pytest.mark.parametrize("kind", OTHER_KINDS, ids=str)
def test_a_part_of_no_known_class_is_refused(folder: Path, part: str, kind: Any) -> None:
    edit(folder / "model_index.json", **{part: kind})
    is_whole(folder)
    with pytest.raises(UserError, match=f"no {part} of the kind .* could be loaded") as caught:
        check_folder(folder)
    assert caught.value.where == str(folder / "model_index.json")


def test_parts_that_training_does_not_use_may_be_missing(folder: Path) -> None:
    """As in a download, which leaves them out although the index names them."""
    unused = {
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    edit(folder / "model_index.json", **unused)
    assert is_whole(folder)
    DiffusionModel.load(folder, adapter=SPEC)


def test_a_variant_alone_is_not_a_whole_model(folder: Path) -> None:
    assert is_whole(folder)
    renamed(folder, "fp16")
    assert not is_whole(folder)
    with pytest.raises(UserError, match="variant"):
        check_folder(folder)


def test_latents_that_are_not_square(folder: Path) -> None:
    edit(folder / "unet/config.json", sample_size=[16, 24])
    model = DiffusionModel.load(folder, adapter=SPEC)
    assert model.latent_shape[1:] == (16, 24)
    assert model.image_size == (64, 96)


def test_the_mean_and_the_deviation_of_latents(tiny_model: DiffusionModel) -> None:
    """As `StableDiffusionXLPipeline` decodes: latents * std / scaling_factor + mean. [code: diffusers]"""
    vae: AutoencoderKL = copy.deepcopy(tiny_model.pipe.vae)
    tiny_model.pipe.vae = vae
    channels = vae.config.latent_channels
    mean, std = [0.1 * k for k in range(channels)], [0.5 + k for k in range(channels)]
    vae.register_to_config(latents_mean=mean, latents_std=std)
    latents = torch.randn(2, *tiny_model.latent_shape, generator=torch.Generator().manual_seed(0))
    shaped = [torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std)]
    plain = latents * shaped[1] / vae.config.scaling_factor + shaped[0]
    expected = (vae.decode(plain).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(tiny_model.decode(latents), expected)
    images = tiny_model.decode(latents)
    found = vae.encode(2 * images - 1).latent_dist.mode()
    torch.testing.assert_close(
        tiny_model.encode(images) * shaped[1] / vae.config.scaling_factor + shaped[0], found
    )


def test_a_tiny_autoencoder_encodes_and_decodes(tiny_model: DiffusionModel) -> None:
    channels = tiny_model.latent_shape[0]
    tiny_model.pipe.vae = AutoencoderTiny(
        latent_channels=channels, encoder_block_out_channels=(8, 8, 8), decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1), num_decoder_blocks=(1, 1, 1),
    )  # fmt: skip
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    latents = tiny_model.encode(images)
    assert latents.shape[:2] == (2, channels)
    assert tiny_model.decode(latents).shape == images.shape
