"""Small checkpoints in the published formats, and images to score.

Only the sizes differ from the published checkpoints: keys, containers and settings are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from skimage import data
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import CLIPModel

from ril_bench.remote.file import RemoteFile
from ril_bench.remote.search import FOLDER
from ril_bench.rewards import aesthetic, clip_score, hps, imagereward, pickscore
from ril_bench.rewards.base import Reward
from ril_bench.rewards.clip import Tower, clip_config

M = TypeVar("M", bound=torch.nn.Module)
PROMPTS = ["a cat on a red chair", "An astronaut, 1969!", "a cup of coffee"]
SMALL = {"patch": 8, "dimension": 12, "side": 24}
OPEN_CLIP: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 24, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2},
}


def photographs(side: int = 96) -> Tensor:
    """Three of scikit-image's photographs (3, 3, side, side), 8-bit values in [0, 1]."""
    images = [
        torch.from_numpy(load()).permute(2, 0, 1) for load in (data.chelsea, data.astronaut, data.coffee)
    ]
    square = [image[:, : min(image.shape[1:]), : min(image.shape[1:])] for image in images]
    small = [
        interpolate(image[None].float() / 255, (side, side), mode="bilinear", antialias=True)
        for image in square
    ]
    return (torch.cat(small) * 255).round() / 255


def seeded(make: Callable[[], M]) -> M:
    """A module whose initial weights are always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def randomised(module: torch.nn.Module, seed: int = 0, scale: float = 0.2) -> dict[str, Tensor]:
    """The module's weights plus noise, so that none is exactly 0 or 1, where a mistake would not show."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: value + scale * torch.randn(value.shape, generator=generator)
        if value.is_floating_point()
        else value
        for key, value in module.state_dict().items()
    }


def unpinned(patch: pytest.MonkeyPatch, module: ModuleType, name: str) -> RemoteFile:
    """Removes the digest of a file, so that a small file of the tests can replace it."""
    file = replace(getattr(module, name), sha256=None)
    patch.setattr(module, name, file)
    return file


def hf_clip(patch: pytest.MonkeyPatch, kind: type[Reward], act: str) -> tuple[CLIPModel, dict[str, Tensor]]:
    """Replaces the CLIP of a reward by a small one of transformers; returns it and its checkpoint."""
    config = clip_config(Tower(2, 32, 2), Tower(2, 16, 2), act=act, **SMALL)
    patch.setattr(kind, "config", config)
    model = seeded(lambda: CLIPModel(config)).eval()
    model.load_state_dict(randomised(model))
    with torch.no_grad():
        model.logit_scale.fill_(4.6)
    stale = {
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "vision_model.embeddings.position_ids": torch.arange(10)[None],
    }
    return model, {key: value.clone() for key, value in model.state_dict().items()} | stale


def write(folder: Path, file: RemoteFile, state: Any) -> None:
    """Writes a checkpoint where RIL-Bench looks for it, in the container of its file name."""
    path = folder / (f"{file.repo}/{file.file}" if file.on_hub else file.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)


class Published:
    """Builds each reward from a small checkpoint; `nets` has the plain models of the rewards."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path):
        self.patch, self.folder = patch, folder
        self.nets: dict[str, Any] = {}
        patch.setenv(FOLDER, str(folder))

    def aesthetic(self) -> Reward:
        net, state = hf_clip(self.patch, aesthetic.Aesthetic, "quick_gelu")
        head = randomised(seeded(lambda: aesthetic.AestheticHead(SMALL["dimension"])), seed=1, scale=0.02)
        write(self.folder, unpinned(self.patch, aesthetic, "CLIP"), state)
        write(self.folder, unpinned(self.patch, aesthetic, "HEAD"), head)
        self.nets["aesthetic"] = net, head
        return aesthetic.Aesthetic()

    def pickscore(self) -> Reward:
        net, state = hf_clip(self.patch, pickscore.Pickscore, "gelu")
        write(self.folder, unpinned(self.patch, pickscore, "WEIGHTS"), state)
        self.nets["pickscore"] = net
        return pickscore.Pickscore()

    def clip_score(self) -> Reward:
        net, state = hf_clip(self.patch, clip_score.ClipScore, "quick_gelu")
        write(self.folder, unpinned(self.patch, clip_score, "WEIGHTS"), state)
        self.nets["clip_score"] = net
        return clip_score.ClipScore()

    def hpsv2(self, kind: type[hps.Hpsv2] = hps.Hpsv2) -> Reward:
        file = replace(kind.file, sha256=None)
        self.patch.setattr(kind, "file", file)
        self.patch.setattr(hps.Hpsv2, "config", OPEN_CLIP)
        net = seeded(lambda: open_clip.CLIP(**OPEN_CLIP)).eval()
        net.load_state_dict(randomised(net, seed=2 if kind is hps.Hpsv2 else 3, scale=0.05))
        # The container of open_clip's training code, in half precision as published.
        state = {key: value.half() for key, value in net.state_dict().items()}
        net.load_state_dict(state)
        write(self.folder, file, {"epoch": 1, "name": "hps", "state_dict": state})
        self.nets[kind.name] = net
        return kind()

    def hpsv21(self) -> Reward:
        return self.hpsv2(hps.Hpsv21)

    def imagereward(self) -> Reward:
        from tests.rewards import blip

        self.patch.setattr(imagereward.Imagereward, "vision", blip.VISION)
        self.patch.setattr(imagereward.Imagereward, "text", blip.TEXT)
        state = blip.checkpoint()
        write(self.folder, unpinned(self.patch, imagereward, "WEIGHTS"), state)
        words = unpinned(self.patch, imagereward, "VOCABULARY")
        path = self.folder / words.repo / words.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(blip.WORDS) + "\n")
        self.nets["imagereward"] = state
        return imagereward.Imagereward()
