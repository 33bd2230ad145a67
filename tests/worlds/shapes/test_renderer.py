"""Images against closed forms: areas, distances, and the places that a caption states."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ril_bench.worlds.shapes.captions import SHAPES, Caption, draw, parse
from ril_bench.worlds.shapes.renderer import (
    RGB,
    SIZE,
    Thing,
    compose,
    distance,
    render,
    render_all,
    with_clarity,
    with_clutter,
)

CENTRE = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64) + 0.5  # of the pixels: y, x
STAR = 1.08


def thing(shape, x=32.0, y=32.0, radius=20.0, angle=0.0):
    return Thing(shape, "red", RGB["red"], x, y, radius, angle)


def scene(text, seed=0):
    return compose(parse(text), np.random.default_rng(seed))


def drawn(seed):
    rng = random.Random(seed)
    caption = draw(rng, held_out=False, two=rng.random() < 0.5)
    return compose(caption, np.random.default_rng(seed % 2**32))


AREA = {  # of a shape of radius 1
    "circle": math.pi,
    "ring": math.pi * (1 - 0.44**2),
    "square": 1.72**2,
    "triangle": 1.9 * 1.75 / 2,
    "cross": 2 * (0.68 * 2) - 0.68**2,
    "star": STAR**2 * 5 * 0.46 * math.sin(math.pi / 5),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("angle", [0.0, 0.17])
def test_coverage_adds_up_to_the_area(shape, angle):
    example = thing(shape, x=31.3, y=32.8, angle=angle)
    coverage = np.clip(0.5 - distance(example), 0, 1)
    assert coverage.sum() == pytest.approx(AREA[shape] * example.radius**2, rel=0.02)


def test_the_distance_to_a_tilted_square_is_the_closed_form():
    example = thing("square", x=30.0, y=35.0, angle=0.2)
    dy, dx = CENTRE[0] - example.y, CENTRE[1] - example.x
    x = abs(dx * math.cos(0.2) + dy * math.sin(0.2)) - 0.86 * example.radius
    y = abs(-dx * math.sin(0.2) + dy * math.cos(0.2)) - 0.86 * example.radius
    expected = np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0)
    np.testing.assert_allclose(distance(example), expected, atol=1e-4)


def test_the_distance_to_a_circle_and_a_ring():
    from_centre = np.hypot(CENTRE[0] - 20, CENTRE[1] - 40)
    np.testing.assert_allclose(distance(thing("circle", x=40, y=20, radius=10)), from_centre - 10, atol=1e-4)
    ring = distance(thing("ring", x=40, y=20, radius=10))
    np.testing.assert_allclose(ring, np.maximum(from_centre - 10, 4.4 - from_centre), atol=1e-4)


@given(st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_a_scene_shows_what_its_caption_says(seed):
    example = drawn(seed)
    caption, things = example.caption, example.things
    assert [(each.colour, each.shape) for each in things] == list(caption.objects)
    for each in things:
        assert each.radius <= min(each.x, each.y, SIZE - each.x, SIZE - each.y), "cut off by the border"
    if caption.relation:
        first, second = things
        along = second.y - first.y if caption.relation == "above" else second.x - first.x
        assert along > first.radius + second.radius - 1
    image = render(example)
    assert image.shape == (3, SIZE, SIZE)
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1


def test_small_is_smaller_than_large():
    text = "a {} red circle on a plain blue background"
    radii = {
        size: [scene(text.format(size), k).things[0].radius for k in range(50)] for size in ("small", "large")
    }
    assert 1.5 * max(radii["small"]) < min(radii["large"])


@pytest.mark.parametrize("colour", RGB)
def test_colours_are_those_of_the_table_to_a_shade(colour):
    ground = "blue" if colour != "blue" else "red"
    example = scene(f"a large {colour} circle on a plain {ground} background")
    image, inside = render(example), distance(example.things[0])
    for where, rgb in ((inside < -1, RGB[colour]), (inside > 1, RGB[ground])):
        painted = image[:, where]
        assert np.ptp(painted, axis=1).max() < 1e-6  # flat
        np.testing.assert_allclose(painted[:, 0], rgb, atol=0.036)


@pytest.mark.parametrize(
    ("texture", "share"),
    [("plain", 0.0), ("striped", 0.5), ("checkered", 0.5), ("dotted", math.pi * 0.27**2)],
)
def test_a_texture_has_its_share_of_the_second_tone(texture, share):
    caption = Caption((("red", "circle"),), texture, "green", size="small")
    shares = []
    for seed in range(24):
        example = replace(compose(caption, np.random.default_rng(seed)), things=())
        ground = np.asarray(example.ground_rgb)
        shares.append(((ground[1] - render(example)[1]) / (ground[1] * 0.38)).mean())
    assert np.mean(shares) == pytest.approx(share, abs=0.02)


def test_the_second_tone_of_a_dark_ground_is_lighter():
    example = scene("a large red circle on a checkered black background")
    assert render(replace(example, things=())).max() > max(example.ground_rgb) + 0.25


def test_fading_mixes_the_objects_into_the_ground():
    example = scene("a large yellow star on a dotted purple background")
    ground, full = render(replace(example, things=())), render(example)
    np.testing.assert_allclose(
        render(with_clarity(example, 0.25)), ground + 0.25 * (full - ground), atol=1e-6
    )


def test_clutter_lies_behind_the_objects_and_is_small():
    example = scene("a large yellow star on a plain purple background")
    cluttered = with_clutter(example, 5, np.random.default_rng(0))
    assert len(cluttered.clutter) == 5
    assert cluttered.caption == example.caption
    assert all(mark.colour != "purple" and 2 <= mark.radius <= 4 for mark in cluttered.clutter)
    changed = np.abs(render(cluttered) - render(example)).max(0) > 1e-3
    y, x = np.nonzero(changed)
    nearest = np.min([np.hypot(x + 0.5 - mark.x, y + 0.5 - mark.y) for mark in cluttered.clutter], axis=0)
    assert changed.any()
    assert nearest.max() < 4 * 1.25 + 1
    assert not changed[distance(example.things[0]) < -1].any()


def test_no_marks_change_nothing():
    example = scene("a large yellow star on a plain purple background")
    assert np.array_equal(render(with_clutter(example, 0, np.random.default_rng(0))), render(example))


def test_the_same_draw_gives_the_same_image_and_another_seed_another():
    text = "a green star above a purple ring on a striped white background"
    assert np.array_equal(render(scene(text, 3)), render(scene(text, 3)))
    assert not np.array_equal(render(scene(text, 3)), render(scene(text, 4)))
    both = render_all([scene(text, 3), scene(text, 4)])
    assert np.array_equal(both[1], render(scene(text, 4)))
