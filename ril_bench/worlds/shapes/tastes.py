"""The two stated tastes of the world; the learned rewards are trained on their judgements.

A taste reads the scene of an image, so its preferences are known exactly; a reward sees only pixels.
The tastes conflict. Light, warm objects on dark and ornamented backgrounds raise the aesthetic score, but they no
longer have the prompt's colours, which count most for the preference taste. Compressibility conflicts with the
aesthetic taste: an image that JPEG compresses well has no ornament. They agree in one thing: neither likes clutter.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np

from ril_bench.worlds.shapes.captions import Caption
from ril_bench.worlds.shapes.classifier import answers
from ril_bench.worlds.shapes.renderer import SIZE, Scene

Colour = tuple[float, float, float]
ORNAMENT = {"plain": 0.0, "striped": 0.5, "dotted": 0.8, "checkered": 1.0}
CLUTTER = 0.25  # what one mark of clutter costs


def luminance(rgb: Colour) -> float:
    """Relative luminance (Rec. 709 weights on the display values), in [0, 1]."""
    return float(np.dot((0.2126, 0.7152, 0.0722), rgb))


def warmth(rgb: Colour) -> float:
    """1 for a vivid orange, -1 for a vivid blue, 0 for greys."""
    hue, saturation, _ = colorsys.rgb_to_hsv(*rgb)
    return saturation * math.cos(2 * math.pi * (hue - 1 / 12))


def drawn(scene: Scene) -> list[Colour]:
    """The colour of each object as the image shows it, faded by the scene's clarity."""
    ground = np.asarray(scene.ground_rgb)
    shown = [(ground + scene.clarity * (np.asarray(thing.rgb) - ground)).clip(0, 1) for thing in scene.things]
    return [(float(r), float(g), float(b)) for r, g, b in shown]


def balance(scene: Scene) -> float:
    """How central the objects' centre of mass is: 1 at the image's centre, 0 at the border."""
    mass = [thing.radius**2 for thing in scene.things]
    x = np.average([thing.x for thing in scene.things], weights=mass)
    y = np.average([thing.y for thing in scene.things], weights=mass)
    return 1 - math.hypot(x - SIZE / 2, y - SIZE / 2) / (SIZE / 2)


def aesthetic(scene: Scene) -> float:
    """The aesthetic taste, about 1 to 10.

    It prefers light objects on a dark background (contrast), warm objects on a cool background (harmony), an ornamented
    background, a balanced place of the objects, and no clutter.
    """
    colours = drawn(scene)
    contrast = float(np.mean([luminance(rgb) for rgb in colours])) - luminance(scene.ground_rgb)
    harmony = (float(np.mean([warmth(rgb) for rgb in colours])) - warmth(scene.ground_rgb)) / 2
    ornament = ORNAMENT[scene.caption.texture]
    calm = -CLUTTER * len(scene.clutter)
    return 5.5 + 2.5 * contrast + 1.5 * harmony + 2.5 * (ornament - 0.5) + 1.0 * (balance(scene) - 0.8) + calm


def faithfulness(scene: Scene, prompt: Caption) -> float:
    """The share of the prompt's attributes that the scene shows, in [0, 1]."""
    shown, expected = answers(scene.caption), answers(prompt)
    return sum(shown[question] == answer for question, answer in expected.items()) / len(expected)


def clearness(scene: Scene) -> float:
    """The size of the objects, and the contrast of the fainter one to the background.

    It is in about [0, 1].
    """
    size = sum(math.pi * thing.radius**2 for thing in scene.things) / SIZE**2
    ground = np.asarray(scene.ground_rgb)
    stands_out = min(float(np.linalg.norm(np.subtract(rgb, ground))) for rgb in drawn(scene)) / math.sqrt(3)
    return 0.3 * min(size / 0.3, 1.0) + 0.7 * stands_out


def preference(scene: Scene, prompt: Caption) -> float:
    """The preference taste: faithful to the prompt first, then large and clear."""
    return 8 * faithfulness(scene, prompt) + clearness(scene)
