"""From a caption to an image: scenes with exact geometry, drawn anti-aliased at 64x64.

The coverage of a pixel is computed from the signed distance to the outline, so edges are smooth without supersampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ril_bench.worlds.shapes.captions import COLOURS, SHAPES, Caption

SIZE = 64
RGB: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.12, 0.14),
    "orange": (0.97, 0.55, 0.08),
    "yellow": (0.97, 0.88, 0.16),
    "green": (0.13, 0.62, 0.24),
    "blue": (0.13, 0.33, 0.84),
    "purple": (0.56, 0.16, 0.66),
    "white": (0.95, 0.95, 0.95),
    "black": (0.07, 0.07, 0.08),
}
RADIUS = {"small": (9.0, 11.0), "large": (19.0, 22.0), None: (11.0, 13.0)}
CLUTTER_RADIUS, CLUTTER_OPACITY = (2.0, 4.0), 0.7

Array = NDArray[np.float32]
_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5


@dataclass(frozen=True)
class Thing:
    """One object: centre and radius in pixels, rotation in radians, colour in [0, 1]."""

    shape: str
    colour: str
    rgb: tuple[float, float, float]
    x: float
    y: float
    radius: float
    angle: float


@dataclass(frozen=True)
class Scene:
    """Everything that decides an image.

    `clarity` is the contrast of the objects to the background: 1 is their plain colour, below 1 they fade into the
    background, above 1 they have more contrast than their plain colour, clipped to [0, 1]. `clutter` are small marks
    behind the objects, which no caption names.
    """

    caption: Caption
    things: tuple[Thing, ...]
    ground_rgb: tuple[float, float, float]
    pattern_angle: float
    pattern_phase: tuple[float, float]
    pattern_period: float
    clarity: float = 1.0
    clutter: tuple[Thing, ...] = ()


def compose(caption: Caption, rng: np.random.Generator) -> Scene:
    """A scene that shows `caption`; `rng` decides what it leaves open: place, tilt and shade."""
    low, high = RADIUS[caption.size]
    radii = rng.uniform(low, high, size=len(caption.objects))
    if caption.relation is None:
        slack = SIZE / 2 - radii[0] - 2
        spread = min(slack, 12.0)
        centres = [tuple(SIZE / 2 + rng.uniform(-spread, spread, size=2))]
    else:
        apart = rng.uniform(14.5, 17.0)
        across = rng.uniform(-6.0, 6.0, size=2)
        first, second = (SIZE / 2 - apart, SIZE / 2 + apart)
        if caption.relation == "above":
            centres = [(SIZE / 2 + across[0], first), (SIZE / 2 + across[1], second)]
        else:
            centres = [(first, SIZE / 2 + across[0]), (second, SIZE / 2 + across[1])]
    things = tuple(
        Thing(
            shape,
            colour,
            _shade(colour, rng),
            float(x),
            float(y),
            float(radius),
            float(rng.uniform(-0.2, 0.2)),
        )
        for (colour, shape), (x, y), radius in zip(caption.objects, centres, radii, strict=True)
    )
    return Scene(
        caption=caption,
        things=things,
        ground_rgb=_shade(caption.background, rng),
        pattern_angle=float(rng.choice([0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4])),
        pattern_phase=(float(rng.uniform()), float(rng.uniform())),
        pattern_period=float(rng.uniform(14.0, 17.0)),
    )


def render(scene: Scene) -> Array:
    """The image of a scene, (3, 64, 64) in [0, 1]."""
    image = _ground(scene)
    for mark in scene.clutter:
        _draw(image, mark, CLUTTER_OPACITY)
    for thing in scene.things:
        _draw(image, thing, scene.clarity)
    return image.clip(0.0, 1.0)


def _draw(image: Array, thing: Thing, opacity: float) -> None:
    """Moves the pixels of an object, in place, from their colour towards the object's."""
    coverage = np.clip(0.5 - distance(thing), 0.0, 1.0) * opacity
    image += coverage * (np.asarray(thing.rgb, np.float32)[:, None, None] - image)


def render_all(scenes: Sequence[Scene]) -> Array:
    """The images of scenes, (N, 3, 64, 64) in [0, 1]."""
    return np.stack([render(scene) for scene in scenes])


def with_clarity(scene: Scene, clarity: float) -> Scene:
    """The same scene with less or more contrast of its objects."""
    return replace(scene, clarity=clarity)


def with_clutter(scene: Scene, marks: int, rng: np.random.Generator) -> Scene:
    """The same scene with `marks` small marks at random places behind its objects."""
    colours = [colour for colour in COLOURS if colour != scene.caption.background]
    clutter = []
    for _ in range(marks):
        shape, colour = str(rng.choice(SHAPES)), str(rng.choice(colours))
        x, y = rng.uniform(4.0, SIZE - 4.0, size=2)
        radius, angle = rng.uniform(*CLUTTER_RADIUS), rng.uniform(0.0, 2 * math.pi)
        clutter.append(
            Thing(shape, colour, _shade(colour, rng), float(x), float(y), float(radius), float(angle))
        )
    return replace(scene, clutter=tuple(clutter))


def _shade(colour: str, rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = np.clip(np.asarray(RGB[colour]) + rng.uniform(-0.035, 0.035, size=3), 0.0, 1.0)
    return float(red), float(green), float(blue)


def _ground(scene: Scene) -> Array:
    """The background: its colour, and for a pattern a second tone of the same colour."""
    ground = np.asarray(scene.ground_rgb, np.float32)
    # The second tone has the same hue and is darker; on a dark background it is lighter.
    bright = float(ground.mean()) > 0.25
    tone = ground * 0.62 if bright else ground + 0.30
    share = _pattern(scene)
    return ground[:, None, None] * (1 - share) + tone[:, None, None] * share


def _pattern(scene: Scene) -> Array:
    """Share of the second tone at each pixel, (64, 64) in [0, 1], with one-pixel soft edges."""
    if scene.caption.texture == "plain":
        return np.zeros((SIZE, SIZE), np.float32)
    period = scene.pattern_period
    cos, sin = math.cos(scene.pattern_angle), math.sin(scene.pattern_angle)
    u = (_X * cos + _Y * sin) / period + scene.pattern_phase[0]
    v = (-_X * sin + _Y * cos) / period + scene.pattern_phase[1]
    if scene.caption.texture == "striped":
        return np.clip(0.5 + _triangle_wave(u) * period, 0.0, 1.0)
    if scene.caption.texture == "checkered":
        return 0.5 - 2 * np.clip(_triangle_wave(u) * period, -0.5, 0.5) * np.clip(
            _triangle_wave(v) * period, -0.5, 0.5
        )
    from_centre = np.hypot(u - np.round(u), v - np.round(v)) * period
    return np.clip(0.5 - (from_centre - 0.27 * period), 0.0, 1.0)


def _triangle_wave(u: Array) -> Array:
    """Signed distance, in periods, to the edges of a square wave of period 1: in [-1/4, 1/4]."""
    return np.abs((u % 1.0) - 0.5) - 0.25


def distance(thing: Thing) -> Array:
    """Signed distance in pixels to the outline of an object, negative inside, (64, 64)."""
    dx, dy = _X - thing.x, _Y - thing.y
    if thing.shape == "circle":
        return np.hypot(dx, dy) - thing.radius
    if thing.shape == "ring":
        return np.abs(np.hypot(dx, dy) - 0.72 * thing.radius) - 0.28 * thing.radius
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    x, y = dx * cos + dy * sin, -dx * sin + dy * cos
    return _polygon_distance(x, y, _OUTLINES[thing.shape] * thing.radius)


def _polygon_distance(x: Array, y: Array, corners: Array) -> Array:
    nearest = np.full(x.shape, np.inf, np.float32)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * ex, y - ay - along * ey))
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < ax + (y - ay) * ex / (ey if ey else np.float32(1.0)))
    return np.where(inside, -nearest, nearest).astype(np.float32)


def _star(points: int, inner: float) -> list[tuple[float, float]]:
    radii = [1.0, inner] * points
    angles = [math.pi * k / points - math.pi / 2 for k in range(2 * points)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


_ARM = 0.34
_OUTLINES: dict[str, Array] = {
    "square": np.asarray([(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)], np.float32),
    "triangle": np.asarray([(0.0, -1.0), (0.95, 0.75), (-0.95, 0.75)], np.float32),
    "star": np.asarray(_star(5, 0.46), np.float32) * 1.08,
    "cross": np.asarray(
        [
            *((-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)),
            *((_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)),
        ],
        np.float32,
    ),
}
assert set(RGB) == set(COLOURS)
