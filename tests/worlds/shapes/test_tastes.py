"""The stated tastes against values computed by hand."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from ril_bench.rewards.jpeg import jpeg_distance
from ril_bench.worlds.shapes import tastes
from ril_bench.worlds.shapes.captions import draw, parse
from ril_bench.worlds.shapes.classifier import answers
from ril_bench.worlds.shapes.renderer import RGB, compose, render_all, with_clarity, with_clutter

SMALL = "a small red circle on a striped blue background"


def scene(text, **changes):
    """The scene with its first object in the centre, and with the plain colours of the table."""
    composed = compose(parse(text), np.random.default_rng(0))
    first = replace(composed.things[0], x=32.0, y=32.0, rgb=RGB[composed.things[0].colour], **changes)
    return replace(
        composed, things=(first, *composed.things[1:]), ground_rgb=RGB[composed.caption.background]
    )


def scenes(number):
    rng, numbers = random.Random(0), np.random.default_rng(0)
    return [compose(draw(rng, held_out=False, two=k % 2 == 0), numbers) for k in range(number)]


def test_luminance_and_warmth():
    assert tastes.luminance((1, 1, 1)) == pytest.approx(1)
    assert tastes.luminance((0, 1, 0)) == pytest.approx(0.7152)
    assert tastes.warmth((1, 0.5, 0)) == pytest.approx(1)  # hue 30 degrees
    assert tastes.warmth((0, 0.5, 1)) == pytest.approx(-1)  # hue 210
    assert tastes.warmth((0.4, 0.4, 0.4)) == 0


def test_balance():
    assert tastes.balance(scene(SMALL)) == pytest.approx(1)
    middle = scene(SMALL)
    at_border = replace(middle.things[0], x=64.0)
    assert tastes.balance(replace(middle, things=(at_border,))) == pytest.approx(0)
    # two objects of radii 1 and 2, weighted by area: 32 +- 15 gives a centre of mass at 32 + 9
    pair = (replace(at_border, x=17.0, radius=1.0), replace(at_border, x=47.0, radius=2.0))
    assert tastes.balance(replace(middle, things=pair)) == pytest.approx(1 - 9 / 32)


def test_aesthetic_is_its_formula():
    white_on_black = scene("a large white circle on a plain black background")
    luminances = 0.95 - (0.07 * (0.2126 + 0.7152) + 0.08 * 0.0722)
    harmony = -(0.01 / 0.08) * math.cos(2 * math.pi * (2 / 3 - 1 / 12)) / 2  # the black is a little blue
    expected = 5.5 + 2.5 * luminances + 1.5 * harmony - 2.5 * 0.5 + 0.2
    assert tastes.aesthetic(white_on_black) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (
            "a large white circle on a plain black background",
            "a large black circle on a plain white background",
        ),
        (
            "a large orange circle on a plain blue background",
            "a large blue circle on a plain orange background",
        ),
        (
            "a large red circle on a checkered blue background",
            "a large red circle on a plain blue background",
        ),
        ("a large red circle on a dotted blue background", "a large red circle on a striped blue background"),
    ],
)
def test_what_the_aesthetic_taste_prefers(better, worse):
    assert tastes.aesthetic(scene(better)) > tastes.aesthetic(scene(worse)) + 0.5


def test_aesthetic_ratings_are_about_1_to_10_and_spread():
    ratings = [tastes.aesthetic(one) for one in scenes(400)]
    assert 0.5 < min(ratings) < 3
    assert 8 < max(ratings) < 10.5
    assert np.std(ratings) > 1


@pytest.mark.parametrize(
    ("shown", "prompt", "wrong"),
    [
        (SMALL, SMALL, 0),
        ("a large red circle on a striped blue background", SMALL, 1),
        ("a small green star on a striped blue background", SMALL, 2),
        ("a red circle above a green star on a striped blue background", SMALL, 4),
        ("a large green star on a plain white background", SMALL, 5),
    ],
)
def test_faithfulness_is_the_share_of_right_answers(shown, prompt, wrong):
    assert tastes.faithfulness(scene(shown), parse(prompt)) == pytest.approx(1 - wrong / 8)


def test_every_attribute_has_its_question():
    single, pair = parse(SMALL), parse("a green star left of a purple ring on a plain white background")
    assert answers(single) == {
        "shape_a": "circle",
        "colour_a": "red",
        "size": "small",
        "relation": "none",
        "shape_b": "none",
        "colour_b": "none",
        "texture": "striped",
        "background": "blue",
    }
    assert (answers(pair)["relation"], answers(pair)["shape_b"], answers(pair)["size"]) == (
        "left of",
        "ring",
        "none",
    )


def test_clearness_rises_with_size_and_contrast():
    here = scene(SMALL, radius=10.0)
    assert tastes.clearness(replace(here, things=(replace(here.things[0], radius=20.0),))) > tastes.clearness(
        here
    )
    assert tastes.clearness(with_clarity(here, 0.3)) < tastes.clearness(here)
    assert tastes.clearness(with_clarity(here, 1.4)) > tastes.clearness(here)
    by_hand = 0.3 * (100 * math.pi / 64**2) / 0.3 + 0.7 * math.dist(RGB["red"], RGB["blue"]) / math.sqrt(3)
    assert tastes.clearness(here) == pytest.approx(by_hand)


def test_preference_puts_the_prompt_first():
    """One attribute outweighs the largest difference in clearness."""
    faint = with_clarity(scene(SMALL), 0.05)
    bold = scene("a large red circle on a striped blue background")
    assert tastes.clearness(bold) > tastes.clearness(faint) + 0.5
    assert tastes.preference(faint, parse(SMALL)) > tastes.preference(bold, parse(SMALL))
    assert tastes.preference(scene(SMALL), parse(SMALL)) > tastes.preference(faint, parse(SMALL))


def test_a_mark_of_clutter_costs_the_same_everywhere():
    rng = np.random.default_rng(0)
    for one in scenes(10):
        assert tastes.aesthetic(with_clutter(one, 3, rng)) == pytest.approx(
            tastes.aesthetic(one) - 3 * tastes.CLUTTER
        )


def test_a_faint_object_has_the_colour_that_the_image_shows():
    faint = with_clarity(scene(SMALL), 0.25)
    red, blue = np.asarray(RGB["red"]), np.asarray(RGB["blue"])
    np.testing.assert_allclose(tastes.drawn(faint), [0.25 * red + 0.75 * blue])
    invisible = with_clarity(scene(SMALL), 0.0)
    # neither contrast nor harmony is left: 5.5, half an ornament, and a central place
    assert tastes.aesthetic(invisible) == pytest.approx(5.5 + 0.2)


def test_ornament_is_liked_and_costs_bytes():
    """The aesthetic taste conflicts with compressibility: the same scenes, plain and checkered."""
    plain, checkered = (
        [replace(one, caption=replace(one.caption, texture=texture)) for one in scenes(30)]
        for texture in ("plain", "checkered")
    )
    for one, other in zip(plain, checkered, strict=True):
        assert tastes.aesthetic(other) == pytest.approx(tastes.aesthetic(one) + 2.5)
    cost_of_plain, cost_of_checkered = (
        jpeg_distance(torch.from_numpy(render_all(s))) for s in (plain, checkered)
    )
    assert (cost_of_checkered > cost_of_plain).all()
