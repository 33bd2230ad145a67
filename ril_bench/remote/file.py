"""Files of others that a run may need: where each is published, whether it is here, and how it gets here. No torch.

A file is looked for in the folder $RIL_BENCH_WEIGHTS first, then in the cache of the hub (or, for a file that is
published elsewhere, of RIL-Bench), and only then downloaded. Wherever it comes from, its digest must be the pinned one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ril_bench.errors import InfrastructureError, UserError
from ril_bench.storage.cache import cache_folder
from ril_bench.storage.run_folder import sha256_file

FOLDER = "RIL_BENCH_WEIGHTS"  # the environment variable that names a folder of files got by hand


@dataclass(frozen=True)
class RemoteFile:
    """One published file.

    Attributes:
        name: what RIL-Bench calls it.
        repo: a repository of the hub (owner/name, or datasets/owner/name), or the https address of the folder, or of
            the raw files of the git repository, that it is published in.
        file: its path in there.
        revision: the commit; None where it is not pinned, or published in a mere folder.
        sha256: its digest (hex); None where it is not known here. It then loads as it is, and what it was stands
            in the weights' digests of run.json.
        size: bytes, None where not known.
        licence: its publisher's.
        used_by: the rewards and features that need it.
    """

    name: str
    repo: str
    file: str
    revision: str | None
    sha256: str | None
    size: int | None
    licence: str
    used_by: tuple[str, ...]

    @property
    def pinned(self) -> bool:
        """Whether no other file can pass for this one."""
        return self.sha256 is not None

    @property
    def on_hub(self) -> bool:
        """Whether it is published on the Hugging Face hub."""
        return "://" not in self.repo

    @property
    def url(self) -> str:
        """Where it can be got by hand."""
        if not self.on_hub:
            return "/".join(filter(None, (self.repo, self.revision, quote(self.file))))
        return f"https://huggingface.co/{self.repo}/resolve/{self.revision or 'main'}/{quote(self.file)}"

    def cached_path(self) -> Path | None:
        """Where it lies on this machine, None if it does not; its digest is not looked at."""
        return next((path for path in self._places() if path.is_file()), None)

    def fetch(self, offline: bool = False) -> Path:
        """Where it lies on this machine, downloaded if it must be, its digest checked.

        Args:
            offline: never download; HF_HUB_OFFLINE=1 says the same for every file.

        Raises:
            UserError: it is not here and must not be downloaded, or is not the file that it should be.
            InfrastructureError: the download failed.
        """
        from huggingface_hub.constants import is_offline_mode

        path = self.cached_path()
        if path is None:
            if offline or is_offline_mode():
                raise self.not_here("downloads are off")
            path = self._download()
        return self._checked(path)

    def not_here(self, reason: str) -> UserError:
        """The error for a file that is not on this machine and cannot be downloaded."""
        return UserError(
            f"{self.name} is not on this machine, and {reason}", where=self.url, hint=self.by_hand
        )

    @property
    def local_name(self) -> str:
        """Its path in $RIL_BENCH_WEIGHTS: with the repository's, as many have a model.safetensors."""
        return f"{self.repo}/{self.file}" if self.on_hub else self.file

    @property
    def by_hand(self) -> str:
        """What to do where it is not on this machine."""
        return (
            f"go online, or put the file into a folder as {self.local_name} and name that folder in ${FOLDER}"
        )

    @property
    def _on_hub(self) -> dict[str, Any]:
        """What huggingface_hub calls it."""
        kind = "dataset" if self.repo.startswith("datasets/") else "model"
        repo = self.repo.removeprefix("datasets/")
        return {"repo_id": repo, "filename": self.file, "revision": self.revision, "repo_type": kind}

    def _places(self) -> list[Path]:
        places = []
        if folder := os.environ.get(FOLDER):
            places = [
                Path(folder).expanduser() / name for name in dict.fromkeys((self.local_name, self.file))
            ]
        return [*places, *self._cached()]

    def _cached(self) -> list[Path]:
        if not self.on_hub:
            return [cache_folder() / "weights" / self.file]
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(**self._on_hub)
        return [Path(found)] if isinstance(found, str) else []

    def _download(self) -> Path:
        try:
            if self.on_hub:
                from huggingface_hub import hf_hub_download

                return Path(hf_hub_download(**self._on_hub))
            from torch.hub import download_url_to_file  # to a temporary name, until it is whole

            path = self._cached()[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            download_url_to_file(self.url, str(path), hash_prefix=self.sha256, progress=False)
            return path
        except (OSError, RuntimeError) as error:  # of the hub, sockets and disks; a digest that is not right
            raise InfrastructureError(
                f"{self.name} could not be downloaded: {error}", where=self.url, hint=self.by_hand
            ) from error

    def _checked(self, path: Path) -> Path:
        if self.sha256 is not None and (found := digest(path)) != self.sha256:
            raise UserError(
                f"this is not {self.name}: its digest is {found[:12]}..., not {self.sha256[:12]}...",
                where=str(path),
                hint=f"delete the file; it is to be had at {self.url}",
            )
        return path


@cache
def digest(path: Path) -> str:
    """SHA-256 (hex) of a file, computed once a process."""
    return sha256_file(path)
