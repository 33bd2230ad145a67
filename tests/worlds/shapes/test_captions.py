"""The grammar, its split, and the two prompt sets that published results depend on."""

from __future__ import annotations

import hashlib
import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.worlds.shapes import captions
from ril_bench.worlds.shapes.captions import COLOURS, RELATIONS, SHAPES, SIZES, TEXTURES, Caption, draw, parse

things = st.tuples(st.sampled_from(COLOURS), st.sampled_from(SHAPES))
grounds = {"texture": st.sampled_from(TEXTURES), "background": st.sampled_from(COLOURS)}
any_caption = st.builds(
    Caption, st.tuples(things), size=st.sampled_from([None, *SIZES]), **grounds
) | st.builds(Caption, st.tuples(things, things), relation=st.sampled_from(RELATIONS), **grounds)


@given(any_caption)
def test_a_caption_is_read_back_from_its_text(caption):
    assert parse(str(caption)) == caption


def test_the_texts_are_those_of_the_grammar():
    single = Caption((("red", "circle"),), "striped", "blue", size="small")
    pair = Caption((("green", "star"), ("purple", "ring")), "plain", "white", relation="above")
    assert str(single) == "a small red circle on a striped blue background"
    assert str(pair) == "a green star above a purple ring on a plain white background"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a photo of a cat",
        "a red circle",
        "a red circle on a plain blue background.",
        "a Red circle on a plain blue background",
        "a pink circle on a plain blue background",
        "a red circle above on a plain blue background",
        "a red circle below a green star on a plain blue background",
    ],
)
def test_a_text_outside_the_grammar_is_refused(text):
    with pytest.raises(ValueError, match="not a caption of the shapes world"):
        parse(text)


def test_no_evaluation_combination_is_ever_trained_on():
    def combinations(split):
        parsed = [parse(prompt) for prompt in captions.prompts(split)]
        return {
            (colour, shape, caption.background) for caption in parsed for colour, shape in caption.objects
        }

    trained, evaluated = combinations("train"), [parse(prompt) for prompt in captions.prompts("eval")]
    for caption in evaluated:
        new = [(colour, shape, caption.background) not in trained for colour, shape in caption.objects]
        assert any(new), caption
    assert not any(parse(prompt).held_out for prompt in captions.prompts("train"))


def test_about_an_eighth_of_all_combinations_is_held_out():
    every = [
        Caption(((colour, shape),), "plain", ground).held_out
        for colour, shape, ground in product(COLOURS, SHAPES, COLOURS)
    ]
    assert sum(every) / len(every) == pytest.approx(1 / 8, abs=0.035)


@pytest.mark.parametrize(("split", "number"), [("train", 512), ("eval", 192)])
def test_a_prompt_set_is_distinct_and_every_third_has_two_objects(split, number):
    prompts = captions.prompts(split)
    assert len(set(prompts)) == len(prompts) == number
    assert [len(parse(prompt).objects) for prompt in prompts] == [1, 1, 2] * (number // 3) + [1, 1][
        : number % 3
    ]
    shown = [thing for prompt in prompts for thing in parse(prompt).objects]
    assert {colour for colour, _ in shown} == set(COLOURS)
    assert {shape for _, shape in shown} == set(SHAPES)


@pytest.mark.parametrize(("split", "digest"), [("train", "e7a993105e3821d7"), ("eval", "6e79268a408216b3")])
def test_the_prompt_sets_never_change(split, digest):
    """A change makes every stored score incomparable: it needs a new version of every sequence."""
    assert hashlib.sha256("\n".join(captions.prompts(split)).encode()).hexdigest()[:16] == digest


@given(st.integers(), st.booleans(), st.booleans())
def test_objects_differ_from_the_background_and_from_each_other(seed, held_out, two):
    caption = draw(random.Random(seed), held_out=held_out, two=two)
    assert caption.held_out == held_out
    assert len(caption.objects) == 1 + two
    assert (caption.size is None, caption.relation is None) == (two, not two)
    for part in zip(*caption.objects, strict=True):
        assert len(set(part)) == len(part)
    assert caption.background not in [colour for colour, _ in caption.objects]


def test_the_vocabulary_is_every_word_of_every_prompt():
    used = {
        word for split in ("train", "eval") for prompt in captions.prompts(split) for word in prompt.split()
    }
    assert used == set(captions.words())
