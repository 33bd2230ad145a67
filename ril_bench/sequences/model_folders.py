"""The model that a sequence names: a folder on this machine, or a model of the hub.

A model of the hub has the name owner/name, or owner/name@revision. Pin the revision if you want to compare
results. This module does not import torch.
"""

from __future__ import annotations

from pathlib import Path

from ril_bench import registry
from ril_bench.remote.model import HubModel, loaded_files
from ril_bench.remote.weights import digests
from ril_bench.storage.known_digests import file_digest


def hub_model(reference: str) -> HubModel | None:
    """The model of the hub that a reference names, or None where it names a folder."""
    place = registry.locate("model", reference)
    if isinstance(place, Path):
        return None
    repo, _, revision = str(place).partition("@")
    return HubModel(repo, revision or None)


def local_folder(reference: str) -> Path | None:
    """The folder of a model on this machine, None if it is not here. Downloads nothing."""
    model = hub_model(reference)
    return model.cached_path() if model else Path(str(registry.locate("model", reference)))


def model_folder(reference: str) -> Path:
    """The folder of a model. Downloads it if needed, and checks the digests of pinned files.

    Raises:
        UserError: the model is not here and downloads are off, it is not on the hub, or a digest differs.
        InfrastructureError: the download failed.
    """
    model = hub_model(reference)
    return model.fetch() if model else Path(str(registry.locate("model", reference)))


def model_digests(reference: str, folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of every file that a model is loaded from, by its path."""
    model = hub_model(reference)
    if model is None:
        return digests(folder)
    return {
        f"{model.repo}/{path.relative_to(folder).as_posix()}": file_digest(path)
        for path in loaded_files(folder)
    }
