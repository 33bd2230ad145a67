"""One model of the Hugging Face hub: the folder of a diffusers pipeline. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ril_bench.errors import UserError
from ril_bench.remote.file import RemoteFile
from ril_bench.remote.published import MODELS
from ril_bench.remote.search import Published

#: the files that a pipeline is loaded from: safetensors in full precision, and no safety checker
FILES = (
    "model_index.json",
    "scheduler/*.json",
    "tokenizer*/*",
    *(f"{part}/config.json" for part in ("text_encoder*", "unet", "transformer", "vae")),
    *(
        f"{weights}{end}"
        for weights in (
            "text_encoder*/model",
            *(f"{part}/diffusion_pytorch_model" for part in ("unet", "transformer", "vae")),
        )
        for end in (".safetensors", ".safetensors.index.json", "-*-of-*.safetensors")
    ),
)

NOT_LOADED = ("safety_checker", "feature_extractor", "image_encoder")


@dataclass(frozen=True)
class HubModel(Published):
    """A repository of the hub, owner/name, at a revision; None is the newest one."""

    content: ClassVar[str] = "the model's folder"

    repo: str
    revision: str | None

    @property
    def title(self) -> str:
        return f"the model {'@'.join(filter(None, (self.repo, self.revision)))}"

    @property
    def url(self) -> str:
        return f"https://huggingface.co/{self.repo}/tree/{self.revision or 'main'}"

    @property
    def local_name(self) -> str:
        return self.repo

    @property
    def pinned_files(self) -> tuple[RemoteFile, ...]:
        """The weights whose digests are known; empty for a model or revision not in the table."""
        return tuple(file for file in MODELS.get(self.repo, ()) if file.revision == self.revision)

    def cached(self) -> Path | None:
        folder = self._in_hub_cache()
        return folder if folder and is_whole(folder) else None

    def _in_hub_cache(self) -> Path | None:
        """The folder of this model in the cache of the hub, which may lack files."""
        from huggingface_hub import try_to_load_from_cache

        index = try_to_load_from_cache(self.repo, "model_index.json", revision=self.revision)
        return Path(index).parent if isinstance(index, str) else None

    def not_here(self, reason: str) -> UserError:
        error = super().not_here(reason)
        if folder := self._in_hub_cache():
            variants = sorted({file.name.split(".")[-2] for file in folder.glob("*/*.*.safetensors")})
            known = f" (only the variant {', '.join(variants)})" if variants else ""
            error.what = f"only a part of {self.title} is on this machine{known}, and {reason}"
        return error

    def download(self) -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(self.repo, revision=self.revision, allow_patterns=list(FILES)))

    def check(self, path: Path) -> None:
        for file in self.pinned_files:
            file.check(path / file.file)


def is_whole(folder: Path) -> bool:
    """Whether a pipeline's folder holds every part that its index names and that is loaded.

    After an interrupted download, parts are missing. Weights in half precision alone (a variant) do not count.
    """
    try:
        index = json.loads((folder / "model_index.json").read_bytes())
    except (OSError, ValueError):
        return False
    parts = [
        part for part, kind in index.items() if isinstance(kind, list) and kind[0] and part not in NOT_LOADED
    ]
    return all(
        weight_files(folder / part)
        if (folder / part / "config.json").is_file()
        else any((folder / part).glob("*.json"))
        for part in parts
    )


def weight_files(part: Path) -> list[Path]:
    """The files of a part's weights that are loaded: safetensors in full precision."""
    found = sorted(part.glob("*.safetensors"))
    return [file for file in found if "." not in file.name.removesuffix(".safetensors")]


def loaded_files(folder: Path) -> list[Path]:
    """The files of a folder that a pipeline is loaded from, sorted."""
    return sorted({path for pattern in FILES for path in folder.glob(pattern) if path.is_file()})
