"""The search order for published files. No torch.

The order is $RIL_BENCH_WEIGHTS, then a cache, then a download.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from ril_bench.errors import InfrastructureError, UserError
from ril_bench.remote.network import downloads_are_off
from ril_bench.storage.files import expanded

#: The environment variable that names a folder of files that a user downloaded by hand.
FOLDER = "RIL_BENCH_WEIGHTS"


def own_places(*names: str) -> list[Path]:
    """The paths of these names in the folder $RIL_BENCH_WEIGHTS; empty if it is not set."""
    folder = os.environ.get(FOLDER)
    return [expanded(folder) / name for name in dict.fromkeys(names)] if folder else []


class Published(ABC):
    """A file, or a folder of files, that others publish.

    A subclass states where it is published, where a cache keeps it, and how it is downloaded.
    """

    #: what a user has to put into the folder $RIL_BENCH_WEIGHTS
    content: ClassVar[str]

    @property
    @abstractmethod
    def title(self) -> str:
        """Its name in messages."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The address from which a user can download it by hand."""

    @property
    @abstractmethod
    def local_name(self) -> str:
        """Its path in $RIL_BENCH_WEIGHTS."""

    @abstractmethod
    def cached(self) -> Path | None:
        """Its path in the cache; None if it is not there, or not complete."""

    @abstractmethod
    def download(self) -> Path:
        """Downloads it into the cache and returns its path; raises OSError or ValueError."""

    @abstractmethod
    def check(self, path: Path) -> None:
        """Raises UserError if a file at the path does not have its pinned digest."""

    def own_places(self) -> list[Path]:
        """The paths at which a user may have put it, the first choice first."""
        return own_places(self.local_name)

    def cached_path(self) -> Path | None:
        """Its path on this machine, or None; no digest is checked."""
        return next((path for path in self.own_places() if path.exists()), None) or self.cached()

    def fetch(self, offline: bool = False) -> Path:
        """Its path on this machine. Downloads it if needed, and checks the digests.

        Args:
            offline: do not download; HF_HUB_OFFLINE=1 forbids all downloads.

        Raises:
            UserError: it is not here and must not be downloaded, or it is not published, or it has another digest.
            InfrastructureError: the download failed.
        """
        path = self.cached_path()
        if path is None:
            if offline or downloads_are_off():
                raise self.not_here("downloads are off")
            path = self._downloaded()
        self.check(path)
        return path

    def not_here(self, reason: str) -> UserError:
        """The error if it is not on this machine and cannot be downloaded."""
        return UserError(
            f"{self.title} is not on this machine, and {reason}", where=self.url, hint=self.by_hand
        )

    @property
    def by_hand(self) -> str:
        """The hint if it is not on this machine."""
        return f"go online, or put {self.content} into a folder as {self.local_name} and name that folder in ${FOLDER}"

    def _downloaded(self) -> Path:
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        try:
            return self.download()
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise UserError(
                f"the hub does not give access to {self.title}: {error}",
                where=self.url,
                hint="check its name and revision; if it is gated, accept its licence and type: hf auth login",
            ) from error
        # OSError: the hub, the network or the disk failed; ValueError: the digest is not the pinned one
        # Other kinds: a proxy whose address is none, for example.
        except Exception as error:
            raise InfrastructureError(
                f"{self.title} could not be downloaded: {error}", where=self.url, hint=self.by_hand
            ) from error
