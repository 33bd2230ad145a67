"""Frozen CLIP models for rewards, with published and with differentiable preprocessing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import open_clip
import torch
import torch.nn.functional as F
from accelerate import init_empty_weights
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from ril_bench.errors import UserError
from ril_bench.remote.weights import verified
from ril_bench.rewards.checkpoints import State, filled, read_state
from ril_bench.rewards.preprocessing import Preprocessing
from ril_bench.rewards.tokenizers import clip_tokenizer_from

START, END, LENGTH = 49406, 49407, 77  # CLIP's first and last token, and the number of tokens


class Clip:
    """Normalised embeddings of images and prompts."""

    def __init__(self, device: torch.device | str, preprocessing: Preprocessing):
        self.device = torch.device(device)
        self.preprocessing = preprocessing
        self._text = lru_cache(maxsize=8192)(self._embed_text)

    def images(self, images: Tensor) -> Tensor:
        """(N, D) with the graph of the images (N, 3, H, W) in [0, 1]."""
        return F.normalize(self.encode_pixels(self.preprocessing.differentiable(images)), dim=1)

    @torch.no_grad()
    def reference_images(self, images: Tensor) -> Tensor:
        """(N, D) by the published preprocessing of 8-bit images."""
        return F.normalize(self.encode_pixels(self.preprocessing.published(images)), dim=1)

    def prompts(self, prompts: Sequence[str]) -> Tensor:
        """(N, D); each distinct prompt is embedded once."""
        return torch.stack([self._text(prompt) for prompt in prompts])

    def cosine(self, images: Tensor, prompts: Sequence[str], *, reference: bool = False) -> Tensor:
        """The cosine (N,) of each image and its prompt."""
        images = self.reference_images(images) if reference else self.images(images)
        return (images * self.prompts(prompts)).sum(1)

    @torch.no_grad()
    def _embed_text(self, prompt: str) -> Tensor:
        return F.normalize(self.encode_prompt(prompt), dim=1)[0]

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(N, D) of preprocessed images."""
        raise NotImplementedError

    def encode_prompt(self, prompt: str) -> Tensor:
        """(1, D)."""
        raise NotImplementedError


class OpenClip(Clip):
    """A model of open_clip.

    Args:
        config: what open_clip's `get_model_config` returns, or `model_cfg` of an open_clip_config.json.
        where: the file of the weights, for error messages.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        state: State,
        *,
        tokenizer: Any,
        where: object,
        device: torch.device | str = "cpu",
        preprocessing: Preprocessing | None = None,
    ):
        super().__init__(device, preprocessing or Preprocessing(config["vision_cfg"]["image_size"]))
        with init_empty_weights():
            empty = open_clip.CLIP(**config)
        self.model = filled(empty, state, where, device)
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu", weights: Path | None = None) -> OpenClip:
        """Loads a folder with `open_clip_config.json`, `open_clip_model.safetensors` and a tokenizer.

        `weights` can name another file of the same architecture, such as HPSv2's for ViT-H-14. Raises UserError for
        weights that are missing, damaged or do not fit.
        """
        file = verified(weights or verified(folder) / "open_clip_model.safetensors")
        config = json.loads((folder / "open_clip_config.json").read_text())
        preprocessing = config["preprocess_cfg"]
        if {preprocessing.get("interpolation", "bicubic"), preprocessing.get("resize_mode", "shortest")} != {
            "bicubic",
            "shortest",
        }:
            raise UserError(
                "this model needs another preprocessing than CLIP's bicubic resize and centre crop",
                where=str(folder / "open_clip_config.json"),
                hint="choose another model, or write a subclass of Clip with the Preprocessing that this model needs",
            )
        return cls(
            config["model_cfg"],
            read_state(file),
            tokenizer=open_clip.get_tokenizer(f"local-dir:{folder}"),
            where=file,
            device=device,
            preprocessing=Preprocessing(
                config["model_cfg"]["vision_cfg"]["image_size"], preprocessing["mean"], preprocessing["std"]
            ),
        )

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels)

    def encode_prompt(self, prompt: str) -> Tensor:
        return self.model.encode_text(self._tokenizer([prompt]).to(self.device))


class HfClip(Clip):
    """A CLIP model of transformers, with CLIP's own byte-pair vocabulary.

    Args:
        where: the file of the weights, for error messages.
    """

    #: buffers that older versions of transformers wrote into checkpoints
    STALE: ClassVar = {"text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"}

    def __init__(
        self, config: CLIPConfig, state: State, *, where: object, device: torch.device | str = "cpu"
    ):
        super().__init__(device, Preprocessing(config.vision_config.image_size))
        with init_empty_weights():
            empty = CLIPModel(config)
        state = {key: value for key, value in state.items() if key not in self.STALE}
        self.model = filled(empty, state, where, device)
        self._tokenizer = clip_tokenizer()

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> HfClip:
        """Loads a folder that transformers wrote. Raises UserError for weights that do not fit."""
        file = verified(folder / "model.safetensors")
        return cls(CLIPConfig.from_pretrained(folder), read_state(file), where=file, device=device)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        return _embedding(self.model.get_image_features(pixels))

    def encode_prompt(self, prompt: str) -> Tensor:
        tokens = self._tokenizer(
            prompt, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
        )
        return _embedding(self.model.get_text_features(tokens.input_ids.to(self.device)))


def _embedding(found: Any) -> Tensor:
    """The embedding in what transformers returns: a pooled output from version 5 on, a tensor in version 4."""
    embedding: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return embedding


@dataclass(frozen=True)
class Tower:
    """One transformer of a CLIP model; its MLPs are four times as wide as the transformer."""

    layers: int
    width: int
    heads: int

    @property
    def config(self) -> dict[str, int]:
        return {
            "num_hidden_layers": self.layers,
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_attention_heads": self.heads,
        }


def clip_config(
    vision: Tower, text: Tower, *, patch: int, dimension: int, act: str, side: int = 224
) -> CLIPConfig:
    """The configuration of a CLIP model of transformers, with the tokens of CLIP's own vocabulary."""
    common = {"hidden_act": act, "projection_dim": dimension}
    image = {"image_size": side, "patch_size": patch}
    tokens = {"bos_token_id": START, "eos_token_id": END}
    return CLIPConfig(
        projection_dim=dimension,
        vision_config={**vision.config, **common, **image},
        text_config={**text.config, **common, **tokens},
    )


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer in transformers' implementation, with the vocabulary that open_clip ships.

    The two implementations clean text differently (open_clip straightens curly quotes), and a reward must use the one
    that it was published with.
    """
    words = open_clip.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(word, word): number for word, number in words.encoder.items()}
    return clip_tokenizer_from(vocabulary, words.bpe_ranks)
