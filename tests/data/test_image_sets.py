"""Image sets: the shipped sets, and folders."""

import numpy as np
import pytest
import torch
from PIL import Image

from ril_bench.data.image_sets import SHIPPED, load_images, locate_images
from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.worlds.shapes.captions import parse, prompts
from ril_bench.worlds.shapes.renderer import compose, render
from ril_bench.worlds.shapes.rewards import Attributes, ShapesAesthetic, ShapesPreference

PROMPTS = prompts("train")[:48]
DRAWS = Draws((0, 1, 2), range(48))


def plain_renders():
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([render(compose(parse(prompt), rng)) for prompt in PROMPTS]))


@pytest.mark.parametrize("reference", SHIPPED)
def test_a_shipped_set_has_an_image_for_any_prompt(reference):
    images, shown = load_images(reference).of(PROMPTS, DRAWS)
    assert images.shape == (48, 3, 64, 64)
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1
    assert shown == PROMPTS
    again, _ = load_images(reference).of(PROMPTS[8:16], DRAWS[8:16])
    assert torch.equal(again, images[8:16])
    other, _ = load_images(reference).of(PROMPTS, Draws((0, 1, 3), range(48)))
    assert not torch.equal(other, images)


@pytest.mark.parametrize(
    ("reference", "reward"), [(SHIPPED[0], ShapesAesthetic), (SHIPPED[1], ShapesPreference)]
)
def test_a_learned_reward_scores_the_images_of_its_set_higher_than_other_renders(reference, reward):
    chosen, _ = load_images(reference).of(PROMPTS, DRAWS)
    gain = reward().reference(chosen, PROMPTS) - reward().reference(plain_renders(), PROMPTS)
    assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5


def test_the_images_of_the_preference_set_show_their_prompts():
    images, _ = load_images("shapes/preference").of(PROMPTS, DRAWS)
    assert Attributes().reference(images, PROMPTS).mean() > 0.95


def test_no_image_on_another_ground_shows_a_held_out_caption():
    from ril_bench.worlds.shapes.gallery import on_another_ground

    rng = np.random.default_rng(0)
    shown = [on_another_ground(parse(prompt), rng).caption for prompt in PROMPTS * 4]
    assert not any(caption.held_out for caption in shown)
    assert len({caption.background for caption in shown}) == 8


def test_a_prompt_outside_the_world_is_refused():
    with pytest.raises(UserError, match="no image of 'a cat'"):
        load_images("shapes/aesthetic").of(["a cat"], Draws((0,), [0]))


@pytest.fixture
def folder(tmp_path):
    for name, value in (("dark", 10), ("light", 200)):
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.csv").write_text("file_name,prompt\ndark.png,night\nlight.png,noon\n")
    return tmp_path


def test_a_folder_has_its_own_prompts(folder):
    assert locate_images(str(folder)) == folder
    images, shown = load_images(str(folder)).of(["a red circle"] * 20, Draws((0,), range(20)))
    assert images.shape == (20, 3, 8, 8)
    assert set(shown) == {"night", "noon"}
    for image, prompt in zip(images, shown, strict=True):
        assert torch.equal(image, torch.full((3, 8, 8), {"night": 10, "noon": 200}[prompt] / 255))


def test_a_folder_that_is_not_a_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="no image set") as caught:
        load_images(str(tmp_path))
    assert "metadata.csv" in caught.value.hint
