"""Stage `classifier`: the attribute probe, trained on renders and on repainted renders of every clarity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

from ril_bench.worlds.shapes.classifier import Classifier, labels
from ril_bench.worlds.shapes.renderer import Scene
from ril_bench.worlds.shapes.train.common import Recipe, batches, fit, halves, write
from ril_bench.worlds.shapes.train.data import rendered8, scenes, varied
from ril_bench.worlds.shapes.train.repaint import pool


def weathered(images: Tensor) -> Tensor:
    """Renders (N, 3, H, W) with a little blur and noise, as a good generator might draw them."""
    sigma = 0.2 + 0.7 * torch.rand(len(images), 1).expand(-1, 2)
    images = torch.where(
        torch.rand(len(images), 1, 1, 1) < 0.5, gaussian_blur2d(images, (5, 5), sigma), images
    )
    return (images + 0.04 * torch.rand(len(images), 1, 1, 1) * torch.randn_like(images)).clamp(0, 1)


def accuracy(model: Classifier, some: list[Scene]) -> Tensor:
    """Which attributes of the scenes' renders are right, (N, questions), bool."""
    return read(model, rendered8(some), some)


@torch.no_grad()
def read(model: Classifier, images: Tensor, some: list[Scene]) -> Tensor:
    """Which attributes of 8-bit images (N, 3, 64, 64) of scenes are right, (N, questions), bool."""
    captions = [scene.caption for scene in some]
    parts = [slice(i, i + 256) for i in range(0, len(some), 256)]
    return torch.cat([model.correct(images[part].float() / 255, captions[part]) for part in parts])


def train(recipe: Recipe) -> None:
    count = recipe.scaled(24_000)
    torch.manual_seed(10)
    model, some = Classifier(), varied(scenes(count, seed=11), seed=11)
    truth = labels([scene.caption for scene in some])
    images, draw = pool(recipe, some, seed=11), batches(count, recipe.scaled(64), seed=12)

    def loss_of(_: int) -> Tensor:
        chosen = next(draw)
        logits = model(weathered(images[chosen].float() / 255))
        return torch.stack(
            [F.cross_entropy(out, truth[chosen, k]) for k, out in enumerate(logits.values())]
        ).sum()

    updates = recipe.scaled(2000)
    model = fit(
        recipe, "classifier", model, loss_of, updates=updates, lr=2e-3, weight_decay=0.05, every=250
    ).eval()
    model.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in halves(model.state_dict()).items()}
    )
    right = accuracy(model, scenes(recipe.scaled(4096), seed=13, held_out=True)).float()
    recipe.log("classifier", attributes=right.mean().item(), whole_images=right.prod(1).mean().item())
    write(model.state_dict(), recipe.classifier)
