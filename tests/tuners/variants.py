"""The options with which every tuner is tested: at least one variant of each tuner that ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

IMAGES = "IMAGES"  # is replaced by the folder of a fixture
TUNERS: dict[str, dict[str, Any]] = {
    "draft": {"k": 2},
    "draft-lv": {"copies": 2},
    "draft-linear": {"path": "linear"},
    "alignprop": {},
    "alignprop-original": {"variant": "original"},
    "refl": {},
    "drtune": {"k": 2, "m": 1},
    "drtune-paper": {"k": 1, "m": 1, "spread": "paper"},
    "drtune-flowbp": {"k": 2, "m": 0, "spread": "late", "bridge": 0.5},
    "sft": {"samples": 2, "noises": 2},
    "sft-images": {"images": IMAGES},
    "dpo": {"noises": 2},
    "spin": {"images": IMAGES, "iteration": 2},
    "ddpo": {"samples": 2},
    "ddpo-dpok": {"samples": 2, "steps": 2, "reuse": 2, "value": True, "kappa": 1.0},
    "ddpo-grpo": {"samples": 2, "std": "batch", "window": 2, "kl": 0.04},
    "ddpo-dppo": {"samples": 2, "reuse": 2, "mask": "dppo"},
    "nft": {"samples": 2, "noises": 2, "reuse": 2},
    "crd": {"samples": 2, "noises": 2},
    "adjoint_matching": {"steps": 2, "quantile": 0.5},
    "nabla_gflownet": {"reuse": 2},
    "nabla_gflownet-plain": {"residual": False, "flow": False},
}


def named(tuner: str, images: Path) -> dict[str, Any]:
    """The options of a variant, as a sequence has them."""
    given = {key: str(images) if value == IMAGES else value for key, value in TUNERS[tuner].items()}
    return {"name": tuner.partition("-")[0], **given}
