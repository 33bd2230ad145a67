"""ImageReward (arXiv 2304.05977): BLIP, whose text encoder attends to the image, and a linear head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import BertTokenizer, BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from ril_bench.remote.published import published
from ril_bench.rewards.aesthetic import AestheticHead
from ril_bench.rewards.base import Reward
from ril_bench.rewards.checkpoints import State, filled, read_state
from ril_bench.rewards.preprocessing import Preprocessing

WEIGHTS, VOCABULARY = published("imagereward"), published("bert-vocabulary")
LENGTH = 35  # tokens of a prompt; later tokens are dropped
# Mean and standard deviation of raw scores over the training pairs [code]
MEAN, SD = 0.16717362830052426, 1.0333394966054072

#: published keys that do not affect the score: heads of BLIP's pretraining, and a buffer
UNUSED = re.compile(
    r"blip\.(vision_proj|text_proj)\.(weight|bias)|blip\.text_encoder\.embeddings\.position_ids"
)
#: published names of modules (salesforce/BLIP, models/vit.py) -> names of transformers; the text encoder needs no rule
RENAMED = (
    (r"^blip\.visual_encoder\.", "vision."),
    (r"^blip\.text_encoder\.", "text."),
    (r"^vision\.cls_token$", "vision.embeddings.class_embedding"),
    (r"^vision\.pos_embed$", "vision.embeddings.position_embedding"),
    (r"^vision\.patch_embed\.proj\.", "vision.embeddings.patch_embedding."),
    (r"^vision\.blocks\.(\d+)\.norm(\d)\.", r"vision.encoder.layers.\1.layer_norm\2."),
    (r"^vision\.blocks\.(\d+)\.attn\.qkv\.", r"vision.encoder.layers.\1.self_attn.qkv."),
    (r"^vision\.blocks\.(\d+)\.attn\.proj\.", r"vision.encoder.layers.\1.self_attn.projection."),
    (r"^vision\.blocks\.(\d+)\.mlp\.", r"vision.encoder.layers.\1.mlp."),
    (r"^vision\.norm\.", "vision.post_layernorm."),
)


def renamed(published_state: State) -> dict[str, Tensor]:
    """A published checkpoint with the names of `Network`; a key that matches no rule keeps its name."""
    state = {}
    for key, value in published_state.items():
        if UNUSED.fullmatch(key):
            continue
        for pattern, name in RENAMED:
            key = re.sub(pattern, name, key)
        state[key] = value
    return state


class Network(nn.Module):
    """BLIP's image encoder, its text encoder with cross-attention to the image's tokens, and the head."""

    def __init__(self, vision: BlipVisionConfig, text: BlipTextConfig):
        super().__init__()
        self.vision = BlipVisionModel(vision)
        self.text = BlipTextModel(text, add_pooling_layer=False)
        self.mlp = AestheticHead(text.hidden_size)

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Raw scores (N,) of preprocessed images (N, 3, side, side) and tokens (N, L), `mask` 1 at real tokens."""
        image = self.vision(pixels).last_hidden_state
        text = self.text(tokens, attention_mask=mask, encoder_hidden_states=image).last_hidden_state
        return self.mlp(text[:, 0]).squeeze(1)  # the first token is [CLS]


class Imagereward(Reward):
    """How much people prefer an image for its prompt; mean 0 and standard deviation 1 on its training pairs [code].

    BLIP with a ViT-L/16 at 224 pixels; it reads the first 35 tokens of the prompt.
    """

    name = "imagereward"
    unit = "sd"
    weights = (WEIGHTS, VOCABULARY)
    vision: ClassVar = BlipVisionConfig(
        image_size=224,
        patch_size=16,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
    )
    text: ClassVar = BlipTextConfig(
        vocab_size=30524,  # BERT's tokens, and two tokens of BLIP
        hidden_size=768,
        encoder_hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=512,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        # In transformers this switches cross-attention on; no mask is causal here.
        is_decoder=True,
    )

    def __init__(self, device: torch.device | str = "cpu"):
        super().__init__(device)
        file = WEIGHTS.fetch()
        with init_empty_weights():
            empty = Network(self.vision, self.text)
        self.network = filled(empty, renamed(read_state(file)), file, self.device)
        self._tokenizer = BertTokenizer(str(VOCABULARY.fetch()))
        self.preprocessing = Preprocessing(self.vision.image_size)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self._normalised(self.preprocessing.differentiable(images), prompts)

    def reference_score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self._normalised(self.preprocessing.published(images), prompts)

    def _normalised(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        encoded = self._tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
        ).to(self.device)
        return (self.network(pixels, encoded.input_ids, encoded.attention_mask) - MEAN) / SD
