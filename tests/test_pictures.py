"""Picture sets: what a taste chooses, and folders."""

import numpy as np
import pytest
import torch
from PIL import Image

from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.pictures import SHIPPED, load_pictures, locate_pictures
from ril_bench.worlds.shapes.captions import parse, prompts
from ril_bench.worlds.shapes.renderer import compose, render
from ril_bench.worlds.shapes.rewards import Attributes, ShapesAesthetic, ShapesPreference

PROMPTS = prompts("train")[:48]
DRAWS = Draws((0, 1, 2), range(48))


def plain_renders():
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([render(compose(parse(prompt), rng)) for prompt in PROMPTS]))


@pytest.mark.parametrize("reference", SHIPPED)
def test_a_shipped_set_has_a_picture_of_any_prompt(reference):
    pictures, said = load_pictures(reference).of(PROMPTS, DRAWS)
    assert pictures.shape == (48, 3, 64, 64)
    assert pictures.dtype == torch.float32
    assert 0 <= pictures.min() <= pictures.max() <= 1
    assert said == PROMPTS
    again, _ = load_pictures(reference).of(PROMPTS[8:16], DRAWS[8:16])
    assert torch.equal(again, pictures[8:16])
    other, _ = load_pictures(reference).of(PROMPTS, Draws((0, 1, 3), range(48)))
    assert not torch.equal(other, pictures)


@pytest.mark.parametrize(
    ("reference", "reward"), [(SHIPPED[0], ShapesAesthetic), (SHIPPED[1], ShapesPreference)]
)
def test_the_learned_reward_of_a_taste_likes_its_pictures_more_than_other_renders(reference, reward):
    liked, _ = load_pictures(reference).of(PROMPTS, DRAWS)
    gain = reward().reference(liked, PROMPTS) - reward().reference(plain_renders(), PROMPTS)
    assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5


def test_the_preference_tastes_pictures_show_what_the_prompt_says():
    pictures, _ = load_pictures("shapes/preference").of(PROMPTS, DRAWS)
    assert Attributes().reference(pictures, PROMPTS).mean() > 0.95


def test_no_picture_of_the_training_side_is_of_the_evaluations():
    from ril_bench.worlds.shapes.gallery import on_another_ground

    rng = np.random.default_rng(0)
    shown = [on_another_ground(parse(prompt), rng).caption for prompt in PROMPTS * 4]
    assert not any(caption.held_out for caption in shown)
    assert len({caption.background for caption in shown}) == 8


def test_a_prompt_outside_the_world_is_refused():
    with pytest.raises(UserError, match="no picture of 'a cat'"):
        load_pictures("shapes/aesthetic").of(["a cat"], Draws((0,), [0]))


@pytest.fixture
def folder(tmp_path):
    for name, value in (("dark", 10), ("light", 200)):
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.csv").write_text("file_name,prompt\ndark.png,night\nlight.png,noon\n")
    return tmp_path


def test_a_folder_brings_its_own_prompts(folder):
    assert locate_pictures(str(folder)) == folder
    pictures, said = load_pictures(str(folder)).of(["a red circle"] * 20, Draws((0,), range(20)))
    assert pictures.shape == (20, 3, 8, 8)
    assert set(said) == {"night", "noon"}
    for picture, prompt in zip(pictures, said, strict=True):
        assert torch.equal(picture, torch.full((3, 8, 8), {"night": 10, "noon": 200}[prompt] / 255))


def test_what_is_no_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="no picture set") as caught:
        load_pictures(str(tmp_path))
    assert "metadata.csv" in caught.value.mend
