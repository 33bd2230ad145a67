"""The feature networks of each world, and notes on those that are missing."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from torch.nn.functional import interpolate
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.models import alexnet
from transformers import Dinov2Config, Dinov2Model

from ril_bench.metrics.structure import perceptual_distance
from ril_bench.remote.search import FOLDER
from ril_bench.worlds import features
from ril_bench.worlds import real as real_features
from ril_bench.worlds.shapes.classifier import load_classifier
from ril_bench.worlds.shapes.extractors import ShapesExtractor, ShapesMaps
from ril_bench.worlds.table import REAL, SHAPES

IMAGES = torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture(scope="module")
def photographs():
    """(3, 3, 80, 72), 8-bit."""
    photos = [
        torch.from_numpy(one()).permute(2, 0, 1)[None] for one in (data.chelsea, data.coffee, data.rocket)
    ]
    return torch.cat([interpolate(photo.float(), (80, 72), mode="area") for photo in photos]).round().byte()


# -- shapes --------------------------------------------------------------------------------------------------


def test_features_are_the_classifiers_penultimate_layer():
    found = ShapesExtractor()(IMAGES)
    assert found.shape == (3, 64)
    expected = load_classifier().trunk(IMAGES.float() / 255 * 2 - 1)
    torch.testing.assert_close(torch.from_numpy(found).float(), expected)


def test_features_are_computed_from_the_last_maps():
    maps = ShapesMaps()(IMAGES)
    assert [tuple(x.shape) for x in maps] == [
        (3, 24, 32, 32),
        (3, 48, 16, 16),
        (3, 64, 16, 16),
        (3, 96, 8, 8),
        (3, 96, 8, 8),
        (3, 96, 4, 4),
    ]
    flatten, linear = load_classifier().trunk[-2:]
    expected = torch.from_numpy(ShapesExtractor()(IMAGES)).float()
    torch.testing.assert_close(linear(flatten(maps[-1])), expected)


def test_the_world_shapes_has_its_networks():
    notes = []
    found = features.load(SHAPES, notes)
    assert found.distribution is found.content
    assert isinstance(found.perceptual, ShapesMaps)
    assert notes == []


def test_a_missing_network_is_a_note_and_not_an_error():
    notes = []
    found = features.load(REAL, notes)
    assert (found.distribution, found.content, found.perceptual) == (None, None, None)
    for note, metrics, file in zip(
        notes,
        ("FID or KID", "feature cosine, diversity or FD-DINOv2", "LPIPS"),
        ("inception", "dinov2-large", "alexnet"),
        strict=True,
    ):
        assert note.startswith(f"no {metrics}: {file} is not on this machine")


# -- real ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The folder in which published files are searched first, without a check of digests."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    for holder, name in (
        (real_features.Inception, "file"),
        (real_features.Dino, "file"),
        (real_features.AlexNetMaps, "trunk"),
    ):
        monkeypatch.setattr(holder, name, replace(getattr(holder, name), sha256=None))
    return tmp_path


def test_dino_equals_transformers_on_images_that_pil_resized(folder, photographs, monkeypatch):
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14
    )
    torch.manual_seed(0)
    net = Dinov2Model(config).eval()
    path = folder / "facebook/dinov2-large/model.safetensors"
    path.parent.mkdir(parents=True)
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    monkeypatch.setattr(real_features.Dino, "config", config)
    monkeypatch.setattr(real_features.Dino, "side", 56)
    dino = real_features.Dino()
    images = [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in photographs]
    small = np.stack([np.asarray(one.resize((56, 56), Image.Resampling.BICUBIC)) for one in images]) / 255
    seen = (small - real_features.IMAGENET_MEAN) / real_features.IMAGENET_STD
    with torch.no_grad():
        expected = net(torch.from_numpy(seen).float().permute(0, 3, 1, 2)).pooler_output
    assert dino(photographs) == pytest.approx(expected.numpy(), abs=1e-5)
    assert dino.convention["sha256"]


def test_the_real_dino_has_the_published_number_of_weights():
    with torch.device("meta"):
        assert sum(p.numel() for p in Dinov2Model(real_features.Dino.config).parameters()) == 304_368_640


def test_lpips_equals_the_package_lpips(folder, photographs):
    torch.manual_seed(0)
    trunk = alexnet()
    torch.save(trunk.state_dict(), folder / "alexnet-owt-7be5be79.pth")
    # the published file: its digest is checked
    linear = Path(lpips.__file__).parent / "weights/v0.1/alex.pth"
    shutil.copy(linear, folder / "alex.pth")
    maps = real_features.AlexNetMaps()
    reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for name, layer in dict(trunk.features.named_children()).items():
        for part in vars(reference.net)["_modules"].values():
            if name in dict(part.named_children()):
                part._modules[name].load_state_dict(layer.state_dict())
    a, b = photographs, photographs.flip(0)
    found = perceptual_distance(maps(a), maps(b), maps.weights)
    with torch.no_grad():
        expected = reference(a.float() / 255, b.float() / 255, normalize=True).flatten()
    assert found == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-6)
    assert found[0] > 0.01


def test_inception_equals_torch_fidelity(folder, photographs, monkeypatch):
    class Blank(FeatureExtractorInceptionV3):
        """The network with random weights, which the test then saves as the published file."""

        def load_state_dict(self, state):
            pass

    monkeypatch.setattr(torch, "load", lambda *_, **__: {})
    torch.manual_seed(0)
    blank = Blank("blank", ["2048"], "no file")
    monkeypatch.undo()
    monkeypatch.setenv(FOLDER, str(folder))
    monkeypatch.setattr(real_features.Inception, "file", replace(real_features.Inception.file, sha256=None))
    torch.save(blank.state_dict(), folder / real_features.Inception.file.file)
    inception = real_features.Inception()
    found = inception(photographs)
    assert found.shape == (3, 2048)
    assert found == pytest.approx(blank(photographs)[0].numpy(), rel=1e-4, abs=1e-6)
    assert np.ptp(found, axis=0).max() > 0


def test_without_torch_fidelity_a_note_has_the_command_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    notes = []
    assert features.load(REAL, notes).distribution is None
    assert "pip install 'ril-bench[real]'" in notes[0]
