"""One published file: on the Hugging Face hub, or at a plain https address. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from ril_bench.errors import UserError
from ril_bench.remote.search import Published, own_places
from ril_bench.storage.cache import cache_folder
from ril_bench.storage.known_digests import file_digest


@dataclass(frozen=True)
class RemoteFile(Published):
    """One published file.

    Attributes:
        name: what RIL-Bench calls it.
        repo: where it is published: a repository of the hub (owner/name, or datasets/owner/name), or the https address
            of a folder, or of the raw files of a git repository.
        file: its path in the repository or folder.
        revision: the commit; None if it is not pinned, or if it is published in a plain folder.
        sha256: its digest (hex); None if it is not known here. Then any file is accepted, and run.json records the
            digest of that file under `weights`.
        size: bytes of the published file; None if no public record states them.
        licence: the licence that its publisher states.
        used_by: the rewards, networks or prompt sets that need it.
    """

    content: ClassVar[str] = "the file"

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
        """Whether its digest is known, so that no other file is accepted."""
        return self.sha256 is not None

    @property
    def on_hub(self) -> bool:
        """Whether it is published on the Hugging Face hub."""
        return "://" not in self.repo

    @property
    def title(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        if not self.on_hub:
            return "/".join(filter(None, (self.repo, self.revision, quote(self.file))))
        return f"https://huggingface.co/{self.repo}/resolve/{self.revision or 'main'}/{quote(self.file)}"

    @property
    def local_name(self) -> str:
        # with the repository's name, because many repositories have a model.safetensors
        return f"{self.repo}/{self.file}" if self.on_hub else self.file

    def own_places(self) -> list[Path]:
        return own_places(self.local_name, self.file)

    def cached(self) -> Path | None:
        if not self.on_hub:
            return self._own_cache if self._own_cache.is_file() else None
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(**self._on_hub)
        return Path(found) if isinstance(found, str) else None

    def download(self) -> Path:
        # Both libraries write to a temporary name first, so that an interrupted download is not taken for the file.
        if self.on_hub:
            from huggingface_hub import hf_hub_download

            return Path(hf_hub_download(**self._on_hub))
        import pooch

        pooch.get_logger().setLevel("WARNING")  # it logs every download
        path = self._own_cache
        downloaded = pooch.retrieve(
            self.url,
            known_hash=self.sha256 and f"sha256:{self.sha256}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(chunk_size=1 << 20),
        )
        return Path(downloaded)

    def check(self, path: Path) -> None:
        if self.sha256 is None:
            return
        found = file_digest(path) if path.is_file() else None
        if found != self.sha256:
            state = f"its digest is {found[:12]}..." if found else "there is no such file"
            raise self._another(path, f"{state}, not {self.sha256[:12]}...")

    @property
    def known_size(self) -> int | None:
        """Bytes: of the file on this machine, else of the published file; None where neither is known."""
        here = self.cached_path()
        return self.size if here is None else here.stat().st_size

    def check_size(self, path: Path) -> None:
        """Raises UserError for a file that is larger or smaller than the published one; reads nothing of it."""
        if self.pinned and self.size is not None and (found := path.stat().st_size) != self.size:
            raise self._another(path, f"it has {found:,} bytes, not {self.size:,}")

    def _another(self, path: Path, why: str) -> UserError:
        hint = f"delete the file; the published one is at {self.url}"
        return UserError(f"this is not {self.title}: {why}", where=str(path), hint=hint)

    @property
    def _on_hub(self) -> dict[str, Any]:
        """The arguments with which huggingface_hub's functions name the file."""
        kind = "dataset" if self.repo.startswith("datasets/") else "model"
        repo = self.repo.removeprefix("datasets/")
        return {"repo_id": repo, "filename": self.file, "revision": self.revision, "repo_type": kind}

    @property
    def _own_cache(self) -> Path:
        """Where a file from a plain address is kept."""
        return cache_folder() / "weights" / self.file
