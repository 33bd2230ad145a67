"""One model of the Hugging Face hub: the folder of a diffusers pipeline. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PureWindowsPath
from typing import ClassVar

from ril_bench.errors import UserError
from ril_bench.remote.file import RemoteFile
from ril_bench.remote.published import MODELS
from ril_bench.remote.search import Published
from ril_bench.remote.weights import refuse_pointer

#: the parts of a pipeline that have weights, and the name that the libraries give a part's weights
WEIGHTS = {
    "text_encoder*": "model",
    **dict.fromkeys(("unet", "transformer", "vae"), "diffusion_pytorch_model"),
}
INDEX = ".safetensors.index.json"
CONFIGS = (
    "model_index.json",
    "scheduler/*.json",
    "tokenizer*/*",
    *(f"{part}/config.json" for part in WEIGHTS),
)
#: what is downloaded to load a pipeline: safetensors in full precision, and no safety checker
FILES = (
    *CONFIGS,
    *(
        f"{part}/{stem}{end}"
        for part, stem in WEIGHTS.items()
        for end in (".safetensors", INDEX, "-*-of-*.safetensors")
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

    def faults_of(self, folder: Path) -> Iterator[UserError]:
        """What can be seen of a folder that is given as this model, before anything in it is read."""
        if not (folder / "model_index.json").is_file():
            yield UserError(
                "there is no model_index.json, which names the parts of a pipeline",
                where=str(folder),
                hint=f"put the whole of {self.url} there, with the folders of the scheduler and the tokenizers",
            )
        for file in self.pinned_files:
            if (path := folder / file.file).is_file():
                try:
                    file.check_size(path)
                except UserError as error:
                    yield error


def is_whole(folder: Path) -> bool:
    """Whether a pipeline's folder holds every part that its index names and that is loaded.

    After an interrupted download, parts are missing. Weights in half precision alone (a variant) do not count.
    """
    try:
        index = json.loads((folder / "model_index.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(index, dict):
        return False
    parts = [
        part
        for part, kind in index.items()
        if isinstance(kind, list) and any(kind) and part not in NOT_LOADED
    ]
    try:
        return all(
            weight_files(folder / part)
            if (folder / part / "config.json").is_file()
            else any((folder / part).glob("*.json"))
            for part in parts
        )
    except UserError:  # the index of a part names files that are not here
        return False


def weight_files(part: Path) -> list[Path]:
    """The files that a part's weights are loaded from: those that its index names, or else its one file.

    Other files beside them, such as shards that an earlier save left, belong to nothing. Empty where there is neither.
    Raises UserError where the index cannot be read, or names anything but safetensors files in the part's folder.
    """
    whole = part / f"{_stem(part)}.safetensors"
    index = part / f"{_stem(part)}{INDEX}"
    if index.is_file():
        return _named_by(index)
    return [whole] if whole.is_file() else []


def loaded_files(folder: Path) -> list[Path]:
    """The files of a folder that a pipeline is loaded from, sorted. Raises as `weight_files`."""
    found = {path for pattern in CONFIGS for path in folder.glob(pattern) if path.is_file()}
    for part in (part for pattern in WEIGHTS for part in folder.glob(pattern)):
        index = part / f"{_stem(part)}{INDEX}"
        found |= {*weight_files(part), *([index] if index.is_file() else [])}
    return sorted(found)


def _stem(part: Path) -> str:
    return next(
        (stem for pattern, stem in WEIGHTS.items() if fnmatchcase(part.name, pattern)),
        "diffusion_pytorch_model",
    )


def _named_by(index: Path) -> list[Path]:
    """The files that an index of shards names, sorted."""
    refuse_pointer(index)
    try:
        names = json.loads(index.read_bytes())["weight_map"].values()
        found = sorted({str(name) for name in names})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _wrong("this index of weights has no table weight_map of weights and files", index) from error
    if not found:
        raise _wrong("this index of weights names no file", index)
    for name in found:
        if not _is_inside(name):
            raise _wrong(
                f"this index of weights names {name[:100]!r}, which is no safetensors file in its folder",
                index,
            )
        if not os.path.isfile(index.parent / name):  # False for a name that no file can have, too
            raise _wrong(f"this index of weights names {name[:100]!r}, and there is no such file", index)
    return [index.parent / name for name in found]


def _is_inside(name: str) -> bool:
    """Whether a name is that of a safetensors file in or below a folder, on any system."""
    path = PureWindowsPath(name)  # it splits at both kinds of slashes
    return path.suffix == ".safetensors" and not path.anchor and ".." not in path.parts


def _wrong(what: str, index: Path) -> UserError:
    return UserError(
        what,
        where=str(index),
        hint="get the part again, as the library that saved it wrote it; if one file has all of its weights, delete "
        "this index",
    )
