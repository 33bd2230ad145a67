"""Tiny pipelines with random weights, with images and latents of the sizes below."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from ril_bench.rewards.tokenizers import clip_tokenizer_from

PIXELS, LATENT = 32, (4, 8, 8)
WORDS = [
    "a",
    "small",
    "large",
    "red",
    "blue",
    "green",
    "circle",
    "square",
    "star",
    "on",
    "above",
    "background",
]


def tokenizer(length: int = 16) -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary of words; the merges build each word from its letters."""
    merges = []
    vocab = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        for piece in pieces:
            vocab.setdefault(piece, len(vocab))
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            vocab.setdefault(pieces[0], len(vocab))
    return clip_tokenizer_from(vocab, dict.fromkeys(merges), model_max_length=length)


def text_config(**changes: Any) -> CLIPTextConfig:
    tiny = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    return CLIPTextConfig(**{**tiny, **changes})


def denoiser(**changes: Any) -> UNet2DConditionModel:
    tiny: dict[str, Any] = {
        "sample_size": LATENT[1],
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**{**tiny, **changes})


def autoencoder(**changes: Any) -> AutoencoderKL:
    tiny: dict[str, Any] = {
        "sample_size": PIXELS,
        "block_out_channels": (4, 4, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "latent_channels": 4,
    }
    return AutoencoderKL(**{**tiny, **changes})


def scheduler(**changes: Any) -> DDIMScheduler:
    published: dict[str, Any] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
    return DDIMScheduler(**{**published, **changes})


def stable_diffusion(prediction_type: str = "epsilon") -> StableDiffusionPipeline:
    """Like SD 1.x without its middle block, or with "v_prediction" like SD 2.x.

    The denoiser of SD 2.x also has linear projections, and another number of heads at each level.
    """
    sd2 = {"use_linear_projection": True, "attention_head_dim": (2, 4)}
    sd1 = {"mid_block_type": None}  # most tests use this one, so it is as small as possible
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words, text_encoder = tokenizer(), CLIPTextModel(text_config())
        unet = denoiser(**(sd2 if prediction_type == "v_prediction" else sd1))
        vae = autoencoder()
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=words,
        unet=unet,
        scheduler=scheduler(prediction_type=prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(force_zeros: bool = True) -> StableDiffusionXLPipeline:
    """Like SDXL: two text encoders, pooled embeddings, added time ids.

    The denoiser's first level has no attention.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = tokenizer()
        encoder = CLIPTextModel(text_config(num_hidden_layers=2))
        encoder_2 = CLIPTextModelWithProjection(
            text_config(num_hidden_layers=2, hidden_size=24, projection_dim=12)
        )
        unet = denoiser(
            cross_attention_dim=16 + 24,
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=12 + 6 * 4,
        )
        vae = autoencoder(scaling_factor=0.13025, force_upcast=True)
    return StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=encoder,
        text_encoder_2=encoder_2,
        tokenizer=words,
        tokenizer_2=words,
        unet=unet,
        scheduler=scheduler(),
        force_zeros_for_empty_prompt=force_zeros,
    )


def stable_diffusion_3(**schedule: Any) -> StableDiffusion3Pipeline:
    """Like SD 3 without T5: a transformer with two blocks, the first with the second attention of SD 3.5."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = tokenizer()
        encoders = [
            CLIPTextModelWithProjection(text_config(num_hidden_layers=2, projection_dim=12)) for _ in range(2)
        ]
        transformer = SD3Transformer2DModel(
            sample_size=LATENT[1],
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_projection_dim=16,
            joint_attention_dim=32,
            pooled_projection_dim=24,
            pos_embed_max_size=8,
            qk_norm="rms_norm",
            dual_attention_layers=(0,),
        )
        for parameter in transformer.parameters():  # modulations and the last layer would be nearly zero
            torch.nn.init.normal_(parameter, std=0.15)
        vae = autoencoder(scaling_factor=0.8, shift_factor=0.06)
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **schedule}),
        vae=vae,
        text_encoder=encoders[0],
        tokenizer=words,
        text_encoder_2=encoders[1],
        tokenizer_2=words,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def with_t5(pipe: StableDiffusion3Pipeline) -> StableDiffusion3Pipeline:
    """The pipeline with a tiny T5 as its third text encoder."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((f"\u2581{word}", -2.0) for word in WORDS)]
    words = Tokenizer(models.Unigram(pieces, unk_id=2))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = T5TokenizerFast(tokenizer_object=words, extra_ids=0, model_max_length=512)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder = T5EncoderModel(T5Config(vocab_size=len(pieces), **sizes)).eval()
    return StableDiffusion3Pipeline(
        **{**pipe.components, "text_encoder_3": encoder, "tokenizer_3": tokenizer}
    )
