"""The film strip: the same prompts from the same latents, one row for each step, embedded in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ril_bench.reporting.collapse import step_label
from ril_bench.scoring.collapse import collapsed
from ril_bench.storage.images import decoded, read_bytes
from ril_bench.storage.read import StoredRun, dig
from ril_bench.storage.run_files import number

PROMPTS = 8  # columns of a strip
LARGEST = 256  # pixels; larger images are shrunk, or a page of 512-pixel ones would weigh tens of megabytes
SHEET = 1024  # pixels of a contact sheet
PIXELATED = 128  # pixels; smaller images are magnified with their pixels visible
# Of a site's thumbnails in WebP: a third of the bytes of a PNG, with no visible difference at their size.
QUALITY = 75


@dataclass(frozen=True)
class Tile:
    """One image as a data URI, or None where it is missing."""

    source: str | None
    alt: str
    ssim: float | None


@dataclass(frozen=True)
class StripRow:
    run: str
    tiles: list[Tile]


@dataclass(frozen=True)
class StripStep:
    """The rows of one step, one for each run."""

    step: int
    name: str
    rows: list[StripRow]


@dataclass(frozen=True)
class Strip:
    prompts: list[str]
    even: int  # how many of the prompts are spread evenly; the others changed most
    groups: list[StripStep]
    pixelated: bool


class Images:
    """Images as data URIs: as they are stored, or as thumbnails for a site; the same bytes are coded once."""

    def __init__(self, thumbnails: bool = False):
        self._thumbnails = thumbnails
        self._known: dict[bytes, tuple[str, bool]] = {}

    def embed(self, path: Path, largest: int = LARGEST) -> tuple[str, bool]:
        """A data URI, and whether the image is small enough to show its pixels. UserError if it is none."""
        data = read_bytes(path)
        if data not in self._known:
            self._known[data] = self._coded(data, decoded(data, path), largest)
        return self._known[data]

    def _coded(self, data: bytes, image: Image.Image, largest: int) -> tuple[str, bool]:
        width = max(image.size)
        kind = "WEBP" if self._thumbnails else image.format or "PNG"
        if width > largest or kind != image.format:
            image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            image.save(buffer, format=kind, quality=QUALITY)
            data = buffer.getvalue()
        return (
            f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode('ascii')}",
            width <= PIXELATED,
        )


def film_strip(runs: Sequence[StoredRun], images: Images, names: Sequence[str] | None = None) -> Strip | None:
    """The strip of one run, or of several under each other; None where no prompt has images in all."""
    names = names or [run.name for run in runs]
    shown = [{p for found in run.images.values() for p, _ in found} for run in runs]
    ids = sorted(set.intersection(*shown)) if shown else []
    if not ids:
        return None
    worst: dict[str, float] = {}
    for run in runs:
        for prompt_id, ssim in ((p, s) for (_, p), s in _listed(run).items()):
            worst[prompt_id] = min(ssim, worst.get(prompt_id, ssim))
    even, changed = choose(ids, worst)
    texts = [runs[0].prompts.get(p, f"prompt {p}") for p in even + changed]
    fallen = [collapsed(run) for run in runs]
    groups, pixelated = [], True
    for step in sorted({step for run in runs for step in run.images}):
        rows = []
        for name, run, own in zip(names, runs, fallen, strict=True):
            tiles = [
                _tile(run, images, name, step, p, text) for p, text in zip(even + changed, texts, strict=True)
            ]
            pixelated &= all(small for _, small in tiles)
            mark = ", collapsed" if step in own and len(runs) > 1 else ""
            rows.append(StripRow(f"{name}{mark}", [tile for tile, _ in tiles]))
        if step == 0 and all(
            [t.source for t in row.tiles] == [t.source for t in rows[0].tiles] for row in rows
        ):
            # All runs start from the same pretrained model, so its row is shown once.
            rows = [StripRow("every run", rows[0].tiles)]
        title = step_label(runs[0], step) if len(runs) == 1 else runs[0].step_name(step)
        groups.append(StripStep(step, title, rows))
    return Strip(texts, len(even), groups, pixelated)


def choose(
    prompt_ids: Sequence[str], worst: dict[str, float], n: int = PROMPTS
) -> tuple[list[str], list[str]]:
    """At most n prompts: half spread evenly over the ids, half those with the lowest SSIM, worst first.

    Where fewer are known by their SSIM, the even half grows.
    """
    known = [p for p in prompt_ids if p in worst]
    changed = sorted(known, key=lambda p: (worst[p], p))[: n // 2]
    rest = [p for p in prompt_ids if p not in changed]
    k = min(n - len(changed), len(rest))
    return [rest[(2 * i + 1) * len(rest) // (2 * k)] for i in range(k)], changed


def _listed(run: StoredRun) -> dict[tuple[int, str], float]:
    """The SSIM to step 0 of the prompts that metrics.json names as worst: (step, prompt_id) -> SSIM."""
    rows = dig(run.metrics, "structure", "worst") or []
    found = {(int(row["step"]), str(row["prompt_id"])): number(row.get("ssim_to_0")) for row in rows}
    return {key: ssim for key, ssim in found.items() if ssim is not None}


def _tile(
    run: StoredRun, images: Images, name: str, step: int, prompt_id: str, prompt: str
) -> tuple[Tile, bool]:
    samples = sorted({s for found in run.images.values() for p, s in found if p == prompt_id})
    path = run.images.get(step, {}).get((prompt_id, samples[0]))  # one sample in all rows: one set of latents
    ssim = _listed(run).get((step, prompt_id))
    if path is None:
        return Tile(None, f"{name}, no image at step {step}: {prompt}", ssim), True
    source, small = images.embed(path)
    return Tile(source, f"{name}, step {step}: {prompt}", ssim), small
