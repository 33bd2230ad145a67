from __future__ import annotations

import numpy as np
import pytest
import torch

from ril_bench.rewards.pixels import Brightness, Colorfulness, Symmetry


def noise(seed=0):
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_brightness_is_the_mean_grey_level():
    images = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4), torch.full((3, 4, 4), 0.2)])
    assert Brightness()(images, [""] * 3).tolist() == pytest.approx([0, 255, 51])


def test_symmetry_is_zero_on_a_mirror_image_and_falls_with_the_difference():
    half = noise()[..., :4]
    mirrored = torch.cat([half, half.flip(-1)], dim=-1)
    assert Symmetry()(mirrored, [""] * 3).tolist() == [0, 0, 0]
    edge = torch.zeros(1, 3, 4, 4)
    edge[..., 0] = 1.0  # one of four columns, which counts twice
    assert Symmetry()(edge, [""]).item() == pytest.approx(-255 / 2)
    assert torch.equal(Symmetry()(noise().flip(-1), [""] * 3), Symmetry()(noise(), [""] * 3))
    upside_down = torch.zeros(1, 3, 4, 4)
    upside_down[..., 0, :] = 1.0
    assert Symmetry()(upside_down, [""]).item() == 0  # left to right only


def test_colorfulness_is_that_of_the_paper():
    images = noise(2)
    for image, score in zip(images, Colorfulness()(images, [""] * 3).tolist(), strict=True):
        red, green, blue = 255 * image.double().flatten(1).numpy()
        rg, yb = red - green, 0.5 * (red + green) - blue
        spread, offset = np.hypot(rg.std(), yb.std()), np.hypot(rg.mean(), yb.mean())
        assert score == pytest.approx(spread + 0.3 * offset, rel=1e-5)


def test_a_grey_image_is_not_colourful_and_has_a_finite_gradient():
    grey = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    score = Colorfulness()(grey, [""])
    score.sum().backward()
    assert score.item() == pytest.approx(0, abs=1e-3)
    assert grey.grad.isfinite().all()


@pytest.mark.parametrize("reward", [Brightness(), Symmetry(), Colorfulness()])
def test_the_gradient_is_that_of_finite_differences(reward):
    images = noise(1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: reward.score(x, [""] * 3) / 255, images)
