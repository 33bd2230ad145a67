"""Image sets: the shipped sets, and folders."""

import io
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ril_bench import registry
from ril_bench.data.image_sets import OWN, SHIPPED, load_images, locate_images
from ril_bench.data.pixels import FORMATS
from ril_bench.draws import Draws, generator
from ril_bench.errors import UserError
from ril_bench.worlds.shapes.captions import parse, prompts
from ril_bench.worlds.shapes.gallery import CANDIDATES, VARIANTS, Gallery, on_another_ground
from ril_bench.worlds.shapes.renderer import compose, render
from ril_bench.worlds.shapes.rewards import Attributes
from ril_bench.worlds.table import SHAPES

PROMPTS = list(prompts("train")[:48])
DRAWS = Draws((0, 1, 2), range(48))


def plain_renders():
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([render(compose(parse(prompt), rng)) for prompt in PROMPTS]))


SETS = [name for name in SHIPPED if name != OWN]


@pytest.mark.parametrize("reference", ["shapes/aesthetic", "shapes/symmetry"])
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


@pytest.mark.slow
@pytest.mark.parametrize("reference", SETS)
def test_a_reward_scores_the_images_of_its_set_higher_than_other_renders(reference):
    name = reference.partition("/")[2]
    reward = registry.load("reward", name, SHAPES)()
    chosen, _ = load_images(reference).of(PROMPTS, DRAWS)
    gain = reward.direction * (reward.reference(chosen, PROMPTS) - reward.reference(plain_renders(), PROMPTS))
    if name == "attributes":  # every faithful render shows all attributes
        assert gain.mean() >= 0
    else:
        assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5


def test_the_image_of_a_set_is_the_best_of_its_candidates():
    gallery, prompt = Gallery("symmetry"), PROMPTS[0]
    rng = generator("gallery", "symmetry", prompt, 1)
    renders = [render(on_another_ground(parse(prompt), rng)) for _ in range(CANDIDATES)]
    # the mean absolute difference to the mirrored image, as symmetry is defined
    asymmetry = [np.abs(image - image[:, :, ::-1]).mean() for image in renders]
    best = renders[int(np.argmin(asymmetry))].transpose(1, 2, 0)
    np.testing.assert_array_equal(gallery._image(prompt, 1), (best * 255).round().astype(np.uint8))


def test_the_images_of_a_set_are_rendered_once(monkeypatch):
    first, _ = load_images("shapes/brightness").of(PROMPTS, DRAWS)
    with monkeypatch.context() as patch:
        patch.setattr(Gallery, "_best", None)
        again, _ = load_images("shapes/brightness").of(PROMPTS, DRAWS)
    assert torch.equal(again, first)
    many, _ = load_images("shapes/brightness").of([PROMPTS[0]] * 48, DRAWS)
    assert 1 < len({image.numpy().tobytes() for image in many}) <= VARIANTS


def test_a_set_can_be_that_of_the_tasks_own_reward():
    own, _ = load_images(OWN, reward="symmetry").of(PROMPTS[:4], DRAWS[:4])
    named, _ = load_images("shapes/symmetry").of(PROMPTS[:4], DRAWS[:4])
    assert torch.equal(own, named)
    with pytest.raises(UserError, match="no image set is called 'shapes/mine'"):
        load_images(OWN, reward="mine")


def test_the_images_of_the_preference_set_show_their_prompts():
    images, _ = load_images("shapes/preference").of(PROMPTS, DRAWS)
    assert Attributes().reference(images, PROMPTS).mean() > 0.95


def test_no_image_on_another_ground_shows_a_held_out_caption():
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


def one_image(folder, image, name="a.png", **options):
    """A set of one image."""
    image.save(folder / name, **options)
    (folder / "metadata.csv").write_text(f"file_name,prompt\n{name},night\n")
    return str(folder)


def test_images_of_other_sizes_are_brought_to_the_models(tmp_path):
    columns = np.repeat(
        np.repeat(np.array([[0, 100, 200]], np.uint8), 8, axis=0), 8, axis=1
    )  # 8 rows, 24 columns
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "b.png")
    reference = one_image(tmp_path, Image.fromarray(columns))
    (image,), _ = load_images(reference, (8, 8)).of(["x"], Draws((0,), [0]))
    assert torch.equal(image, torch.full((3, 8, 8), 100 / 255))  # the middle third, not squeezed
    (tmp_path / "metadata.csv").open("a").write("b.png,noon\n")
    images, _ = load_images(reference, (4, 4)).of(["x"] * 9, Draws((0,), range(9)))
    assert images.shape == (9, 3, 4, 4)
    with pytest.raises(UserError, match=r"images of two sizes: a.png has 24 x 8 pixels, b.png 16 x 16"):
        load_images(reference)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_grey_images_of_16_bits_keep_their_range(tmp_path, name):
    levels = np.array([[0, 257, 25700, 65535]], np.uint16)
    reference = one_image(tmp_path, Image.fromarray(levels), name.replace("pgm", "png"))
    if name.endswith("pgm"):  # older versions of Pillow read it and cannot write it
        (tmp_path / name).write_bytes(b"P5 4 1 65535\n" + levels.byteswap().tobytes())
        (tmp_path / "metadata.csv").write_text(f"file_name,prompt\n{name},night\n")
    (image,), _ = load_images(reference).of(["x"], Draws((0,), [0]))
    expected = torch.tensor([0, 1 / 255, 100 / 255, 1])
    torch.testing.assert_close(image, expected.expand(3, 1, 4))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_levels_without_a_stated_range_are_refused(tmp_path, kind):
    """200 would be bright in 8 bits, and black in 16."""
    image = Image.fromarray(np.array([[0, 1, 100, 200]], kind))
    with pytest.raises(UserError, match="no stated range"):
        load_images(one_image(tmp_path, image, "a.tif")).of(["x"], Draws((0,), [0]))


def test_a_level_of_a_grey_image_may_be_transparent(tmp_path):
    image = Image.fromarray(np.array([[0, 25700]], np.uint16))
    image.save(tmp_path / "grey.png", transparency=0)
    (found,), _ = load_images(one_image(tmp_path, Image.open(tmp_path / "grey.png"), "a.png")).of(
        ["x"], Draws((0,), [0])
    )
    torch.testing.assert_close(found[0], torch.tensor([[1.0, 100 / 255]]))


def test_a_transparent_image_is_laid_on_white(tmp_path):
    reference = one_image(tmp_path, Image.fromarray(np.array([[[9, 9, 9, 0], [51, 0, 0, 255]]], np.uint8)))
    (image,), _ = load_images(reference).of(["x"], Draws((0,), [0]))
    assert image[:, 0].T.tolist() == pytest.approx(np.array([[1, 1, 1], [0.2, 0, 0]]))


def test_an_image_that_changes_during_a_run_is_noticed(folder):
    images = load_images(str(folder))
    Image.fromarray(np.full((8, 8, 3), 11, np.uint8)).save(folder / "dark.png")
    with pytest.raises(UserError, match="changed during the run") as caught:
        images.of(["x"] * 20, Draws((0,), range(20)))
    assert caught.value.where == str(folder / "dark.png")


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ("", "no column file_name: the columns are none"),
        ("file_name,prompt\n", "the image set is empty"),
        ("name,prompt\nlight.png,noon\n", "no column file_name: the columns are name, prompt"),
        ("file_name,prompt\nlight.png,noon, bright\n", "line 2 has 3 columns"),
        ("file_name,prompt\nnone.png,noon\n", "cannot be read: No such file"),
        ("file_name,prompt\nlight.png,\n", "row 1 has no text for the prompt"),
        ("file_name,prompt\n../light.png,noon\n", "outside of the folder"),
        ("file_name,prompt\ncut.png,noon\n", "cannot be read"),
        ("file_name,prompt\ntext.png,noon\n", "cannot be read: cannot identify"),
        ("file_name;prompt\nlight.png;noon\n", "separated by"),
        ("file_name,prompt\nlight\0.png,noon\n", "line 2 is not UTF-8"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_when_it_is_loaded(folder, metadata, what):
    (folder / "metadata.csv").write_text(metadata)
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:2000])
    (folder / "text.png").write_text("no image")
    with pytest.raises(UserError, match=what) as caught:
        load_images(str(folder))
    assert caught.value.where.startswith(str(folder))
    assert caught.value.hint


def encoded(kind):
    data = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(data, kind)
    return data.getvalue()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(FORMATS), data=st.data())
def test_a_broken_image_of_any_format_is_read_or_refused(tmp_path, kind, data):
    whole = encoded(kind)
    at = data.draw(st.integers(0, len(whole)))
    (tmp_path / "a").write_bytes(whole[:at] + data.draw(st.binary(max_size=6)) + whole[at + 3 :])
    (tmp_path / "metadata.csv").write_text("file_name,prompt\na,night\n")
    with suppress(UserError):
        images, _ = load_images(str(tmp_path), (8, 8)).of(["x"], Draws((0,), [0]))
        assert images.shape == (1, 3, 8, 8)


def test_an_image_that_another_program_would_read_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    (tmp_path / "metadata.csv").write_text("file_name,prompt\na.png,night\n")
    with pytest.raises(UserError, match="cannot identify"):
        load_images(str(tmp_path))


def test_names_of_folders_and_images_are_no_patterns(tmp_path):
    place = tmp_path / "set [v2]*"
    place.mkdir()
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    reference = one_image(place, image, name="what?.png")
    assert load_images(reference).of(["x"], Draws((0,), [0]))[1] == ["night"]


def test_a_folder_that_is_not_a_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="no image set") as caught:
        load_images(str(tmp_path))
    assert "metadata.csv" in caught.value.hint
