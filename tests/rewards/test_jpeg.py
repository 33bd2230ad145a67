"""The rewards of JPEG, compared with Pillow's JPEG."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ril_bench.rewards.jpeg import QUALITY, Compressibility, Incompressibility, JpegKb, jpeg_distance
from ril_bench.worlds.shapes.captions import parse, prompts
from ril_bench.worlds.shapes.renderer import compose, render_all


@pytest.fixture(scope="module")
def renders():
    rng = np.random.default_rng(0)
    return torch.from_numpy(render_all([compose(parse(text), rng) for text in prompts("eval")[:12]]))


def by_pillow(image, quality):
    """The number of bytes of the JPEG file, and its image."""
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getbuffer().nbytes, torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def test_the_distance_is_about_that_of_a_real_jpeg(renders):
    expected = []
    for image in renders:
        _, compressed = by_pillow(image, QUALITY)
        expected.append((255 * image - compressed).square().mean().sqrt().item())
    found = jpeg_distance(renders)
    assert np.corrcoef(found.numpy(), expected)[0, 1] > 0.97
    assert float(found.mean()) == pytest.approx(np.mean(expected), rel=0.15)


def test_noise_costs_more_than_a_flat_image(renders):
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    grey = torch.full((1, 3, 64, 64), 128 / 255)
    flat, image, noisy = jpeg_distance(torch.cat([grey, renders[:1], noise])).tolist()
    assert flat < 1 < image < noisy


def test_the_two_are_opposites_and_higher_is_better_in_both(renders):
    small, large = (kind()(renders, [""] * 12) for kind in (Compressibility, Incompressibility))
    assert torch.equal(small, -large)
    assert (small < 0).all()
    assert (Compressibility.direction, Incompressibility.direction) == (1, 1)


def test_the_gradient_is_finite_even_on_a_flat_image(renders):
    grey = torch.full((1, 3, 64, 64), 128 / 255)
    images = torch.cat([grey, torch.zeros_like(grey), renders[:2]]).requires_grad_()
    Compressibility()(images, [""] * 4).sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad[2:].abs().amax((1, 2, 3)).min() > 0


def test_steps_along_the_gradient_make_the_real_file_smaller(renders):
    image = renders[:1].clone().requires_grad_()
    for _ in range(20):
        Compressibility()(image, [""]).sum().backward()
        with torch.no_grad():
            image += 0.01 * image.grad / image.grad.abs().mean() * 0.2
            image.clamp_(0, 1)
        image.grad = None
    assert by_pillow(image.detach()[0], 95)[0] < by_pillow(renders[0], 95)[0]


def test_jpeg_kb_is_the_size_of_pillows_file(renders):
    expected = [by_pillow(image, 95)[0] / 1000 for image in renders]
    assert JpegKb()(renders, [""] * 12).tolist() == pytest.approx(expected)
    assert JpegKb.direction == -1
    assert not JpegKb.differentiable
