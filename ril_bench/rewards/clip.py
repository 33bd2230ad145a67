"""An open_clip model as rewards use it: frozen, with a differentiable way in beside the published one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors.torch import load_file
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from ril_bench.weights import verified


class Clip:
    """Normalised embeddings of pictures and prompts.

    `folder` holds an open_clip model (`open_clip_config.json`, `open_clip_model.safetensors`, a tokenizer);
    `weights` may name another file of the same architecture, as HPSv2's are for ViT-H-14.
    """

    def __init__(self, folder: Path, device: torch.device, weights: Path | None = None):
        verified(folder)
        # It warns that the model has random weights - for now - through the root logger.
        logging.disable(logging.WARNING)
        try:
            model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        finally:
            logging.disable(logging.NOTSET)
        state = load_file(verified(weights or folder / "open_clip_model.safetensors"))
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        self.model = model.to(device).eval().requires_grad_(False)
        self.device = device
        self._tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        config = PreprocessCfg(**model.visual.preprocess_cfg)
        self._published = image_transform_v2(config, is_train=False)
        self._side = config.size if isinstance(config.size, int) else config.size[0]
        self._mean = torch.tensor(config.mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(config.std, device=device).view(3, 1, 1)
        self._text = lru_cache(maxsize=8192)(self._embed_text)

    def images(self, images: Tensor) -> Tensor:
        """(N, D) with the pictures' graph: bicubic antialiased resize to the model's side if needed, normalise."""
        if images.shape[-2:] != (self._side, self._side):
            images = F.interpolate(images, (self._side, self._side), mode="bicubic", antialias=True)
        return self.model.encode_image((images - self._mean) / self._std, normalize=True)

    @torch.no_grad()
    def reference_images(self, images: Tensor) -> Tensor:
        """(N, D) by open_clip's own preprocessing of 8-bit PIL pictures."""
        pictures = [self._published(to_pil_image((image * 255).round().byte())) for image in images.cpu()]
        return self.model.encode_image(torch.stack(pictures).to(self.device), normalize=True)

    def prompts(self, prompts: Sequence[str]) -> Tensor:
        """(N, D); each distinct prompt is embedded once."""
        return torch.stack([self._text(prompt) for prompt in prompts])

    @torch.no_grad()
    def _embed_text(self, prompt: str) -> Tensor:
        return self.model.encode_text(self._tokenizer([prompt]).to(self.device), normalize=True)[0]
