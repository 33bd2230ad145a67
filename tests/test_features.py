"""What pictures are measured with, in the embedded world."""

import torch

from ril_bench.features import ShapesFeatures, extractor
from ril_bench.worlds.shapes.classifier import load_classifier

PICTURES = torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(0)).byte()


def test_features_are_the_classifiers_penultimate_layer():
    found = ShapesFeatures()(PICTURES)
    assert found.shape == (3, 64)
    expected = load_classifier().trunk(PICTURES.float() / 255 * 2 - 1)
    torch.testing.assert_close(torch.from_numpy(found).float(), expected)


def test_maps_are_what_those_features_are_made_of():
    maps = ShapesFeatures().maps(PICTURES)
    assert [tuple(x.shape) for x in maps] == [
        (3, 24, 32, 32),
        (3, 48, 16, 16),
        (3, 64, 16, 16),
        (3, 96, 8, 8),
        (3, 96, 8, 8),
        (3, 96, 4, 4),
    ]
    flatten, linear = load_classifier().trunk[-2:]
    expected = torch.from_numpy(ShapesFeatures()(PICTURES)).float()
    torch.testing.assert_close(linear(flatten(maps[-1])), expected)


def test_a_model_without_features_of_its_own_has_none():
    assert isinstance(extractor("shapes-64"), ShapesFeatures)
    assert extractor("some/hub-model") is None
