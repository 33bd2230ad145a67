"""The architectures of the models of the shipped sequences, to know their memory and time before a download.

Each has the values of the repository's configs that are not the defaults of the libraries' classes. A test compares the
number of weights with the size of the published files, or with the number that was published.
"""

from __future__ import annotations

from typing import Any

from transformers import CLIPTextModel, CLIPTextModelWithProjection, PreTrainedModel, T5EncoderModel

_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}

#: {repository: {part: its config}}
ARCHITECTURES: dict[str, dict[str, dict[str, Any]]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": {
        "unet": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        "vae": {**_VAE, "sample_size": 512},
    },
    "stabilityai/stable-diffusion-xl-base-1.0": {
        "unet": {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        "vae": {**_VAE, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
    },
    "stabilityai/stable-diffusion-3.5-medium": {
        "transformer": {
            "sample_size": 128,
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 24,
            "attention_head_dim": 64,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "caption_projection_dim": 1536,
            "pooled_projection_dim": 2048,
            "pos_embed_max_size": 384,
            "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
        },
        "vae": {
            **_VAE,
            "sample_size": 1024,
            "latent_channels": 16,
            "scaling_factor": 1.5305,
            "shift_factor": 0.0609,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "force_upcast": True,
        },
    },
}

#: The text encoders of CLIP ViT-L/14, of OpenCLIP ViT-bigG/14, and of T5 v1.1 XXL
CLIP_L: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
CLIP_G: dict[str, Any] = CLIP_L | {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
T5_XXL: dict[str, Any] = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}

#: {repository: the class and the config of each text encoder}
TEXT_ENCODERS: dict[str, tuple[tuple[type[PreTrainedModel], dict[str, Any]], ...]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": ((CLIPTextModel, CLIP_L),),
    "stabilityai/stable-diffusion-xl-base-1.0": (
        (CLIPTextModel, CLIP_L),
        (CLIPTextModelWithProjection, CLIP_G),
    ),
    "stabilityai/stable-diffusion-3.5-medium": (
        (CLIPTextModelWithProjection, CLIP_L),
        (CLIPTextModelWithProjection, CLIP_G),
        (T5EncoderModel, T5_XXL),
    ),
}
