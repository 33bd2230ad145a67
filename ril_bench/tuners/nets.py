"""Small networks that tuners train beside the model; their output is zero before training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.draws import Key, generator

M = TypeVar("M", bound=nn.Module)
POOLED = 4  # height and width of the latents that a value network sees


@contextmanager
def seeded(*key: Key) -> Iterator[None]:
    """A context in which torch is seeded by a key; torch's random state is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(*key).integers(2**31)))
        yield


class ValueNet(nn.Module):
    """V(x_t, t, c) from pooled latents, the mean text embedding and t / 1000; zero before training. [ours]"""

    def __init__(self, model: DiffusionModel, width: int):
        super().__init__()
        text = model.embed([""]).shape[-1]
        self.layers = nn.Sequential(
            nn.Linear(model.latent_shape[0] * POOLED**2 + text + 1, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            _zeroed(nn.Linear(width, 1)),
        )
        self.to(model.device)

    def forward(self, x: Tensor, t: float, text: Tensor) -> Tensor:
        """(N,) of latents (N, C, h, w) and text embeddings (N, L, D)."""
        pooled = F.adaptive_avg_pool2d(x.float(), POOLED).flatten(1)
        time = torch.full_like(pooled[:, :1], t / 1000)
        return self.layers(torch.cat([pooled, text.float().mean(1), time], dim=1)).squeeze(1)


class FlowNet(nn.Module):
    """h_phi(x, t, c), of the latents' shape: a small UNet with text cross-attention; zero before training.

    The weight and the bias of its output layer are zero; the release of nabla-GFlowNet zeroes the bias alone [code].
    """

    def __init__(self, model: DiffusionModel, width: int):
        super().__init__()
        channels, height, across = model.latent_shape
        self.unet = UNet2DConditionModel(
            sample_size=(height, across),
            in_channels=channels,
            out_channels=channels,
            block_out_channels=(width, 2 * width),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            mid_block_type=None,
            cross_attention_dim=model.embed([""]).shape[-1],
            attention_head_dim=4,
            norm_num_groups=4,
        )
        _zeroed(self.unet.conv_out)
        self.to(model.device)

    def forward(self, x: Tensor, t: float, text: Tensor) -> Tensor:
        """(N, C, h, w) of latents (N, C, h, w) and text embeddings (N, L, D)."""
        return self.unet(x.float(), t, encoder_hidden_states=text.float(), return_dict=False)[0]


def _zeroed(layer: M) -> M:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
