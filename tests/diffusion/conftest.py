import pytest
import torch

from tests.diffusion.two_adapters import filled
from tests.pipelines import LATENT


@pytest.fixture
def model(tiny_model):
    """Two adapters of different ranks."""
    filled(tiny_model, "a")
    filled(tiny_model, "bb", rank=3)
    return tiny_model


@pytest.fixture
def x():
    return torch.randn(2, *LATENT, generator=torch.Generator().manual_seed(1))
