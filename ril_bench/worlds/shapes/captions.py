"""The caption grammar of shapes, its split, and the prompt sets that it generates.

    a small red circle on a striped blue background
    a green star above a purple ring on a plain white background

A *combination* is (shape, colour, background colour). A fixed eighth of them is held out: no image with a
held-out combination is ever rendered for training, and every evaluation prompt contains at least one.
"""

from __future__ import annotations

import functools
import hashlib
import random
import re
from dataclasses import dataclass

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
SIZES = ("small", "large")
RELATIONS = ("above", "left of")
TEXTURES = ("plain", "striped", "checkered", "dotted")

PROMPT_SETS = {"train": 512, "eval": 192}
_HELD_OUT_ONE_IN = 8

_OBJECT = rf"a (?:({'|'.join(SIZES)}) )?({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_GRAMMAR = re.compile(
    rf"{_OBJECT}(?: ({'|'.join(RELATIONS)}) {_OBJECT})? "
    rf"on a ({'|'.join(TEXTURES)}) ({'|'.join(COLOURS)}) background"
)


@dataclass(frozen=True)
class Caption:
    """The content of a prompt.

    `objects` holds one or two (colour, shape) pairs; `relation` joins two.

    Only a single object has a `size`; two objects have one medium size.
    """

    objects: tuple[tuple[str, str], ...]
    texture: str
    background: str
    size: str | None = None
    relation: str | None = None

    def __str__(self) -> str:
        named = [f"a {colour} {shape}" for colour, shape in self.objects]
        if self.size:
            named[0] = named[0].replace("a ", f"a {self.size} ", 1)
        scene = f" {self.relation} ".join(named)
        return f"{scene} on a {self.texture} {self.background} background"

    @property
    def held_out(self) -> bool:
        """True if any of its combinations belongs to the evaluation side of the split."""
        return any(_is_held_out(shape, colour, self.background) for colour, shape in self.objects)


def _is_held_out(shape: str, colour: str, background: str) -> bool:
    digest = hashlib.blake2b(f"{shape}|{colour}|{background}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % _HELD_OUT_ONE_IN == 0


def parse(text: str) -> Caption:
    """The caption of a prompt; raises ValueError for a text outside the grammar."""
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise ValueError(f"not a caption of the shapes world: {text!r}")
    size, colour, shape, relation, _, colour2, shape2, texture, background = match.groups()
    objects = ((colour, shape),) + (((colour2, shape2),) if relation else ())
    return Caption(objects, texture, background, size, relation)


def draw(rng: random.Random, *, held_out: bool, two: bool) -> Caption:
    """One caption from the train (`held_out=False`) or evaluation (`True`) side of the split."""
    while True:
        background = rng.choice(COLOURS)
        colours = [colour for colour in COLOURS if colour != background]
        texture = rng.choice(TEXTURES)
        if two:
            # Two objects of one colour or one shape would make the relation ambiguous to a reader.
            objects = tuple(zip(rng.sample(colours, 2), rng.sample(SHAPES, 2), strict=True))
            caption = Caption(objects, texture, background, relation=rng.choice(RELATIONS))
        else:
            pair = (rng.choice(colours), rng.choice(SHAPES))
            caption = Caption((pair,), texture, background, size=rng.choice(SIZES))
        if caption.held_out == held_out:
            return caption


@functools.cache
def prompts(split: str) -> tuple[str, ...]:
    """The shipped prompt set `train` or `eval`. It is fixed, and its prompts are distinct.

    Every third prompt has two objects.
    """
    rng = random.Random(f"shapes/{split}")
    chosen: dict[str, None] = {}
    while len(chosen) < PROMPT_SETS[split]:
        chosen[str(draw(rng, held_out=split == "eval", two=len(chosen) % 3 == 2))] = None
    return tuple(chosen)


def words() -> list[str]:
    """Every word of the grammar: the vocabulary of the world's tokenizer."""
    fixed = ["a", "on", "background"]
    return sorted({*fixed, *SHAPES, *COLOURS, *SIZES, *TEXTURES, *" ".join(RELATIONS).split()})
