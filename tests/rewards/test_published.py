"""The published rewards, on small checkpoints in the published formats.

Their scores equal those of an independent computation; their gradients are tested, and what they refuse.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import BertTokenizerFast, CLIPModel, CLIPTokenizer

from ril_bench.errors import UserError
from ril_bench.remote.search import FOLDER
from ril_bench.rewards import aesthetic, hps, imagereward
from ril_bench.rewards.aesthetic import HEAD
from ril_bench.rewards.checkpoints import filled, read_state
from ril_bench.rewards.clip import HfClip, OpenClip, clip_tokenizer
from ril_bench.worlds.table import REAL
from tests.rewards import blip
from tests.rewards.published import OPEN_CLIP, PROMPTS, Published, photographs, write

try:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
except ImportError:  # transformers 4 has one image processor, and it uses Pillow
    from transformers import CLIPImageProcessor as CLIPImageProcessorPil

DATA = "RIL_BENCH_SHARED_DATA"  # names a folder with some of the real published files
SHARED = os.environ.get(DATA, "")
REWARDS = ["aesthetic", "hpsv2", "hpsv21", "pickscore", "imagereward", "clip_score"]
LEARNED = {name.replace("21", "2.1") for name in REWARDS}


@pytest.fixture
def published(monkeypatch, tmp_path):
    return Published(monkeypatch, tmp_path)


@pytest.fixture
def images():
    return photographs()


def pil(images):
    return [Image.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy()) for image in images]


def by_transformers(net, images, prompts):
    """Cosines and image embeddings by transformers' own processor, tokenizer and forward pass."""
    side = {"shortest_edge": 24}, {"height": 24, "width": 24}
    pixels = CLIPImageProcessorPil(size=side[0], crop_size=side[1])(
        pil(images), return_tensors="pt"
    ).pixel_values
    tokens = clip_tokenizer()(prompts, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.no_grad():
        found = net(pixel_values=pixels, **tokens)
    return found.logits_per_image.diagonal() / net.logit_scale.exp(), found.image_embeds


def test_every_learned_reward_of_the_real_world_is_tried_here():
    assert set(REAL.rewards) == LEARNED


def test_clip_score(published, images):
    reward = published.clip_score()
    expected, _ = by_transformers(published.nets["clip_score"], images, PROMPTS)
    torch.testing.assert_close(reward.reference(images, PROMPTS), 100 * expected, atol=1e-4, rtol=1e-5)


def test_pickscore(published, images):
    reward = published.pickscore()
    net = published.nets["pickscore"]
    expected, _ = by_transformers(net, images, PROMPTS)
    scale = torch.tensor(4.6).exp()
    torch.testing.assert_close(reward.reference(images, PROMPTS), scale * expected, atol=1e-4, rtol=1e-5)


def test_aesthetic(published, images):
    reward = published.aesthetic()
    net, head = published.nets["aesthetic"]
    _, embeddings = by_transformers(net, images, PROMPTS)
    x = embeddings / embeddings.norm(dim=1, keepdim=True)
    for number in (0, 2, 4, 6, 7):
        x = x @ head[f"layers.{number}.weight"].T + head[f"layers.{number}.bias"]
    torch.testing.assert_close(reward.reference(images, PROMPTS), x.squeeze(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["hpsv2", "hpsv21"])
@pytest.mark.parametrize("shape", [(96, 96), (96, 60), (33, 70)])
def test_hpsv2(published, images, name, shape):
    """The expected preprocessing resizes the longer side and pads the rest."""
    reward = getattr(published, name)()
    net = published.nets[reward.name]
    images = (images[:, :, : shape[0], : shape[1]] * 255).round() / 255
    height, width = (round(24 * side / max(shape)) for side in shape)
    small = F.interpolate(images, (height, width), mode="bicubic", antialias=True)
    above, left = (24 - height) // 2, (24 - width) // 2
    padded = F.pad(small, (left, 24 - width - left, above, 24 - height - above))
    mean, std = (
        torch.tensor(one).view(3, 1, 1)
        for one in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    with torch.no_grad():
        text = net.encode_text(open_clip.tokenize(PROMPTS), normalize=True)
        expected = (net.encode_image((padded - mean) / std, normalize=True) * text).sum(1)
    torch.testing.assert_close(reward.reference(images, PROMPTS), expected, atol=1e-5, rtol=1e-5)


def test_the_versions_of_hpsv2_are_two_files(published, images):
    first, second = published.hpsv2(), published.hpsv21()
    assert first.file != second.file
    assert not torch.allclose(first(images, PROMPTS), second(images, PROMPTS))


def test_imagereward(published, images):
    reward = published.imagereward()
    pixels = reward.preprocessing.published(images)
    tokenizer = BertTokenizerFast(str(imagereward.VOCABULARY.fetch()))
    tokens = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    assert len({len(one) for one in tokens}) > 1  # the test needs padding, which must be masked
    expected = torch.stack(
        [blip.score(published.nets["imagereward"], *one) for one in zip(pixels, tokens, strict=True)]
    )
    torch.testing.assert_close(reward.reference(images, PROMPTS), expected, atol=1e-4, rtol=1e-4)


def test_imagereward_reads_35_tokens(published, images):
    reward = published.imagereward()
    long = "a " * 33  # and [CLS] and [SEP]
    assert torch.equal(reward(images[:1], [long]), reward(images[:1], [long + "red cat"]))
    assert not torch.allclose(reward(images[:1], [long]), reward(images[:1], ["a " * 32]))


def test_every_published_key_of_imagereward_has_its_place():
    """At full size, without weights in memory: no key is missing or left over, and each shape is right."""
    with torch.device("meta"):
        wanted = imagereward.Network(
            imagereward.Imagereward.vision, imagereward.Imagereward.text
        ).state_dict()
        state = {key: torch.empty(shape) for key, shape in blip.shapes(full=True).items()}
        unused = [key for key in state if imagereward.UNUSED.fullmatch(key)]
        placed = imagereward.renamed(state)
    assert {key: value.shape for key, value in placed.items()} == {k: v.shape for k, v in wanted.items()}
    assert len(placed) + len(unused) == len(state)
    assert len(unused) == 5


def test_the_architectures_are_the_published_ones():
    """They have the published numbers of parameters."""
    with torch.device("meta"):
        counts = {
            "ViT-L/14": CLIPModel(aesthetic.Aesthetic.config),
            "ViT-H-14": open_clip.CLIP(**hps.Hpsv2.config),
        }
    found = {name: sum(p.numel() for p in net.parameters()) for name, net in counts.items()}
    assert found == {"ViT-L/14": 427_616_513, "ViT-H-14": 986_109_441}


def test_the_prompts_tokens_are_those_of_clip():
    plain = ["a photo of a cat!", "it's 1969, two dogs' tails", " ".join(["word"] * 100)]
    ours = clip_tokenizer()(plain, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    theirs = open_clip.tokenize(plain)
    assert isinstance(clip_tokenizer(), CLIPTokenizer)
    for a, b in zip(ours.input_ids, theirs, strict=True):
        end = (
            int(b.argmax()) + 1
        )  # after the end token the paddings differ, which a causal encoder does not read
        assert torch.equal(a[:end], b[:end])


@pytest.mark.skipif(not SHARED, reason=f"${DATA} names no folder of real files")
def test_the_real_aesthetic_head_loads_and_scores(monkeypatch):
    """LAION's own file, with its digest checked, scores embeddings of the right size."""
    monkeypatch.setenv(FOLDER, SHARED)
    path = HEAD.fetch(offline=True)
    assert path == Path(SHARED) / HEAD.file
    found = aesthetic.AestheticHead.of(read_state(path), path)
    embeddings = F.normalize(torch.randn(64, 768, generator=torch.Generator().manual_seed(0)), dim=1)
    scores = found(embeddings).squeeze(1)
    weight, bias = (
        torch.eye(768),
        torch.zeros(768),
    )  # the head is linear, so it equals one matrix and one bias
    state = torch.load(path, map_location="cpu", weights_only=True)  # it was saved on a GPU
    for number in (0, 2, 4, 6, 7):
        weight = state[f"layers.{number}.weight"] @ weight
        bias = state[f"layers.{number}.weight"] @ bias + state[f"layers.{number}.bias"]
    torch.testing.assert_close(scores, (embeddings @ weight.T + bias).squeeze(1), atol=1e-4, rtol=1e-4)
    assert 0 < float(scores.mean()) < 10


# -- gradients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REWARDS)
def test_the_gradient_is_that_of_finite_differences(published, name):
    reward = getattr(published, name)()
    generator = torch.Generator().manual_seed(7)
    images = torch.rand(2, 3, 31, 40, generator=generator, dtype=torch.float64).requires_grad_()
    # CLIP's embeddings of the prompts are kept: transformers 4 cannot compute them in float64.
    reward.score(images.detach().float(), PROMPTS[:2])
    for module in networks(reward):
        module.double()
    score = reward.score(images, PROMPTS[:2])
    (gradient,) = torch.autograd.grad(score.sum(), images)
    step = 1e-5
    for seed in range(3):
        way = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        with torch.no_grad():
            ahead, behind = (reward.score(images + s * step * way, PROMPTS[:2]).sum() for s in (1, -1))
        expected = (gradient * way).sum()
        torch.testing.assert_close((ahead - behind) / (2 * step), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", REWARDS)
def test_saturated_pixels_have_a_gradient_and_no_weight_has(published, name):
    reward = getattr(published, name)()
    images = torch.cat([torch.zeros(1, 3, 40, 40), torch.ones(1, 3, 40, 40)]).requires_grad_()
    reward(images, PROMPTS[:2]).sum().backward()
    assert images.grad.abs().amax((1, 2, 3)).min() > 0
    for module in networks(reward):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert all(parameter.dtype == torch.float32 for parameter in module.parameters())


def networks(reward):
    held = [*vars(reward).values(), *(vars(reward.clip).values() if hasattr(reward, "clip") else ())]
    return [module for module in held if isinstance(module, nn.Module)]


# -- the differentiable against the published preprocessing ------------------------------------------------


@pytest.mark.parametrize("side", [96, 200])
@pytest.mark.parametrize("name", REWARDS)
def test_the_differentiable_preprocessing_is_near_the_published_one(published, name, side):
    """Compares normalised pixels, of deviation 1: PIL rounds to 8 bits and clips, the other does not."""
    reward = getattr(published, name)()
    images = photographs(side)
    preprocessing = reward.preprocessing if name == "imagereward" else reward.clip.preprocessing
    gap = (preprocessing.differentiable(images) - preprocessing.published(images)).abs()
    fitted = preprocessing.fitted(images)
    inside = (fitted >= 0) & (fitted <= 1)  # outside, the resize overshoots, and PIL clips
    grey_level = 1 / 255 / min(preprocessing.std)
    assert gap[inside].max() < 5 * grey_level  # PIL also clips between its two passes
    assert gap.max() < 0.25
    assert gap.mean() < 0.4 * grey_level
    scores, published_scores = reward(images, PROMPTS), reward.reference(images, PROMPTS)
    assert (scores - published_scores).abs().max() < 0.15 * published_scores.std()


def test_the_differentiable_preprocessing_of_hpsv2_is_the_published_one(published):
    preprocessing = published.hpsv2().clip.preprocessing
    images = photographs()[:, :, :, :70]
    assert torch.equal(preprocessing.differentiable(images), preprocessing.published(images))


# -- what is refused ---------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_model_is_refused(published, tmp_path):
    published.hpsv2()
    file = tmp_path / "xswu/HPSv2/HPS_v2_compressed.pt"
    state = torch.load(file, weights_only=True)
    state["state_dict"]["mystery.weight"] = state["state_dict"].pop("visual.proj")
    torch.save(state, file)
    with pytest.raises(UserError, match=r"visual\.proj is missing, mystery\.weight is unexpected") as caught:
        hps.Hpsv2()
    assert caught.value.where == str(file)
    assert caught.value.hint


def test_weights_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"weight is \(3, 2\), not \(2, 3\)"):
        filled(nn.Linear(3, 2), {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, "here")


class Code:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize(
    ("name", "content"), [("a.pt", {"state_dict": {"w": Code()}}), ("a.pt", [1, 2]), ("a.safetensors", b"no")]
)
def test_what_is_more_or_less_than_tensors_is_not_loaded(tmp_path, capsys, name, content):
    file = tmp_path / name
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(UserError, match=r"read safely|not a table of tensors") as caught:
        read_state(file)
    assert caught.value.where == str(file)
    assert "this must not run" not in capsys.readouterr().out


def test_a_pinned_file_that_is_another_one_is_refused(published, tmp_path, monkeypatch):
    published.aesthetic()
    monkeypatch.setattr(aesthetic, "HEAD", replace(aesthetic.HEAD, sha256="0" * 64))
    with pytest.raises(UserError, match="this is not aesthetic-head: its digest is") as caught:
        aesthetic.Aesthetic()
    assert caught.value.where == str(tmp_path / aesthetic.HEAD.file)


# -- any model for clip_score -----------------------------------------------------------------------------------


def test_a_folder_of_transformers_is_a_clip(published, images, tmp_path):
    published.clip_score()
    net = published.nets["clip_score"]
    net.save_pretrained(tmp_path / "clip")
    clip = HfClip.load(tmp_path / "clip")
    expected, _ = by_transformers(net, images, PROMPTS)
    torch.testing.assert_close(clip.cosine(images, PROMPTS, reference=True), expected, atol=1e-5, rtol=1e-4)


def test_an_open_clip_that_is_preprocessed_otherwise_is_refused(tmp_path):
    import json

    from safetensors.torch import save_file

    folder = tmp_path / "squash"
    folder.mkdir()
    net = open_clip.CLIP(**OPEN_CLIP)
    save_file(net.state_dict(), folder / "open_clip_model.safetensors")
    config = {
        "model_cfg": OPEN_CLIP,
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="another preprocessing"):
        OpenClip.load(folder)


def test_write_keeps_the_container(tmp_path, published):
    """Tests the helper `write`: a .pt file is torch's zip, a .safetensors file is not."""
    published.pickscore()
    assert (tmp_path / "yuvalkirstain/PickScore_v1/model.safetensors").is_file()
    write(tmp_path, hps.Hpsv2.file, {"state_dict": {"w": torch.zeros(1)}})
    assert (tmp_path / "xswu/HPSv2/HPS_v2_compressed.pt").read_bytes()[:2] == b"PK"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.pt", "a.bin", "a.safetensors"]),
    at=st.integers(0, 900),
    put=st.binary(max_size=9),
)
def test_a_broken_checkpoint_is_read_or_refused(tmp_path, name, at, put):
    file = tmp_path / name
    save = save_file if name.endswith("safetensors") else torch.save
    save({"w": torch.zeros(3)}, file)
    data = file.read_bytes()
    file.write_bytes(data[:at] + put + data[at + 4 :])
    with suppress(UserError):
        assert all(isinstance(value, torch.Tensor) for value in read_state(file).values())
