"""ImageReward as plain functions, and a small checkpoint with all published keys.

The functions follow the equations of the published code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BlipTextConfig, BlipVisionConfig

D, P, SIDE, DEPTH, HEADS = 24, 8, 24, 2, 3  # the image encoder
W, LAYERS, TEXT_HEADS, VOCABULARY = 16, 2, 2, 60  # the text encoder
SIZES_SEEN, SIZES_READ = (D, P, SIDE, DEPTH), (W, LAYERS, VOCABULARY, 40)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz!,0123456789"]
WORDS += ["cat", "red", "cup", "of", "an", "on", "##s", "##tronaut"]
VISION = BlipVisionConfig(
    image_size=SIDE,
    patch_size=P,
    hidden_size=D,
    intermediate_size=4 * D,
    num_hidden_layers=DEPTH,
    num_attention_heads=HEADS,
    hidden_act="gelu",
    layer_norm_eps=1e-6,
)
TEXT = BlipTextConfig(
    vocab_size=VOCABULARY,
    hidden_size=W,
    encoder_hidden_size=D,
    intermediate_size=4 * W,
    num_hidden_layers=LAYERS,
    num_attention_heads=TEXT_HEADS,
    max_position_embeddings=40,
    hidden_act="gelu",
    layer_norm_eps=1e-12,
    is_decoder=True,
)


def shapes(full: bool = False) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a published checkpoint, at the size of the tests or at `full` size.

    They are the modules of BLIP's vit.py, med.py and blip_pretrain.py, and the MLP of ImageReward.py.
    """
    found: dict[str, tuple[int, ...]] = {}
    D, P, SIDE, DEPTH = (1024, 16, 224, 24) if full else SIZES_SEEN
    W, LAYERS, VOCABULARY, POSITIONS = (768, 12, 30524, 512) if full else SIZES_READ
    PROJECTION = 256

    def linear(name: str, inputs: int, outputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str, width: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (width,), (width,)

    eye, ear = "blip.visual_encoder", "blip.text_encoder"
    found[f"{eye}.cls_token"] = (1, 1, D)
    found[f"{eye}.pos_embed"] = (1, (SIDE // P) ** 2 + 1, D)
    found[f"{eye}.patch_embed.proj.weight"], found[f"{eye}.patch_embed.proj.bias"] = (D, 3, P, P), (D,)
    for i in range(DEPTH):
        block = f"{eye}.blocks.{i}"
        norm(f"{block}.norm1", D)
        linear(f"{block}.attn.qkv", D, 3 * D)
        linear(f"{block}.attn.proj", D, D)
        norm(f"{block}.norm2", D)
        linear(f"{block}.mlp.fc1", D, 4 * D)
        linear(f"{block}.mlp.fc2", 4 * D, D)
    norm(f"{eye}.norm", D)
    found[f"{ear}.embeddings.position_ids"] = (1, POSITIONS)
    found[f"{ear}.embeddings.word_embeddings.weight"] = (VOCABULARY, W)
    found[f"{ear}.embeddings.position_embeddings.weight"] = (POSITIONS, W)
    norm(f"{ear}.embeddings.LayerNorm", W)
    for i in range(LAYERS):
        layer = f"{ear}.encoder.layer.{i}"
        for attention, width in (("attention", W), ("crossattention", D)):
            linear(f"{layer}.{attention}.self.query", W, W)
            linear(f"{layer}.{attention}.self.key", width, W)
            linear(f"{layer}.{attention}.self.value", width, W)
            linear(f"{layer}.{attention}.output.dense", W, W)
            norm(f"{layer}.{attention}.output.LayerNorm", W)
        linear(f"{layer}.intermediate.dense", W, 4 * W)
        linear(f"{layer}.output.dense", 4 * W, W)
        norm(f"{layer}.output.LayerNorm", W)
    linear("blip.vision_proj", D, PROJECTION)
    linear("blip.text_proj", W, PROJECTION)
    for number, (inputs, outputs) in zip(
        (0, 2, 4, 6, 7), ((W, 1024), (1024, 128), (128, 64), (64, 16), (16, 1)), strict=True
    ):
        linear(f"mlp.layers.{number}", inputs, outputs)
    return found


def checkpoint() -> dict[str, Tensor]:
    """Random weights with the published keys."""
    generator = torch.Generator().manual_seed(4)
    state = {}
    for key, shape in shapes().items():
        scale = shape[-1] ** -0.5 if key.endswith("weight") and len(shape) > 1 else 0.3
        state[key] = scale * torch.randn(shape, generator=generator)
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    return state


def score(state: dict[str, Tensor], pixels: Tensor, tokens: list[int]) -> Tensor:
    """The published score of one preprocessed image (3, side, side) for the tokens of a prompt.

    None of the tokens is padding.
    """

    def norm(x: Tensor, name: str, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def attended(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        parts = []
        for a, b, c in zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True):
            parts.append((a @ b.T / math.sqrt(a.shape[1])).softmax(1) @ c)
        return torch.cat(parts, 1)

    eye, ear = "blip.visual_encoder", "blip.text_encoder"
    weight, bias = state[f"{eye}.patch_embed.proj.weight"], state[f"{eye}.patch_embed.proj.bias"]
    patches = F.conv2d(pixels[None], weight, bias, stride=P)[0].flatten(1).T
    x = torch.cat([state[f"{eye}.cls_token"][0], patches]) + state[f"{eye}.pos_embed"][0]
    for i in range(DEPTH):
        block = f"{eye}.blocks.{i}"
        q, k, v = linear(norm(x, f"{block}.norm1", 1e-6), f"{block}.attn.qkv").chunk(3, 1)
        x = x + linear(attended(q, k, v, HEADS), f"{block}.attn.proj")
        y = F.gelu(linear(norm(x, f"{block}.norm2", 1e-6), f"{block}.mlp.fc1"))
        x = x + linear(y, f"{block}.mlp.fc2")
    seen = norm(x, f"{eye}.norm", 1e-6)

    embeddings = f"{ear}.embeddings"
    h = state[f"{embeddings}.word_embeddings.weight"][tokens]
    h = norm(
        h + state[f"{embeddings}.position_embeddings.weight"][: len(tokens)], f"{embeddings}.LayerNorm", 1e-12
    )
    for i in range(LAYERS):
        layer = f"{ear}.encoder.layer.{i}"
        for attention in ("attention", "crossattention"):
            name = f"{layer}.{attention}"
            source = h if attention == "attention" else seen
            q, k, v = (
                linear(tokens_in, f"{name}.self.{part}")
                for tokens_in, part in ((h, "query"), (source, "key"), (source, "value"))
            )
            found = linear(attended(q, k, v, TEXT_HEADS), f"{name}.output.dense")
            h = norm(found + h, f"{name}.output.LayerNorm", 1e-12)
        y = linear(F.gelu(linear(h, f"{layer}.intermediate.dense")), f"{layer}.output.dense")
        h = norm(y + h, f"{layer}.output.LayerNorm", 1e-12)
    y = h[0]
    for number in (0, 2, 4, 6, 7):
        y = linear(y, f"mlp.layers.{number}")
    return (y[0] - 0.16717362830052426) / 1.0333394966054072
