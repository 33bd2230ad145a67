"""The versions of the packages that compute. No torch."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "ril-bench", "torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "open_clip_torch",
    "kornia", "safetensors", "torch-fidelity", "numpy", "pandas", "scipy",
)  # fmt: skip
#: the parts of this package that decide images, scores and adapters
COMPUTING = (
    "data",
    "diffusion",
    "draws.py",
    "machine",
    "methods.py",
    "rewards",
    "running",
    "tuners",
    "worlds",
)


def versions() -> dict[str, str]:
    """The versions of Python and of every package that a score may depend on."""
    return dict(_versions())


@cache  # reading the metadata of a package takes milliseconds
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache  # what this process has imported does not change with the files
def code_digest() -> str:
    """SHA-256 (hex) of the code of this package that computes: a checkout changes without a new version."""
    package = Path(__file__).parents[1]
    files = {file for part in COMPUTING for file in [package / part, *(package / part).rglob("*.py")]}
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
