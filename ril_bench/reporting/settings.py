"""A run's settings for its page: options of the method and the tuner, the resolved sequence, and conventions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ril_bench.reporting.text import MISSING, fixed
from ril_bench.storage.read import StoredRun, dig, number

# Keys of metrics.json's conventions in words.
_WORDS = {
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "lpips": "LPIPS",
    "edges": "Edges",
    "cosine": "Feature cosine",
    "kid": "KID",
    "vendi": "Vendi",
    "pairwise": "Pairwise distance",
    "extractor": "features from",
    "dimension": "features an image",
    "n": "images in each set",
    "resize": "size of images",
    "reference": "compared with",
    "pairs": "pairs of images",
    "floor": "floor",
    "weights": "weights of layers",
    "samples_per_prompt": "images a prompt",
    "second_seed": "second seed",
    "drift": "Drift",
}
_GROUPS = {"fidelity": "FID and KID", "structure": "Structure", "diversity": "Diversity", "drift": "Drift"}


@dataclass(frozen=True)
class Setting:
    """One option with its value; `changed`: the run's command or file set it, so it is not the default."""

    group: str
    key: str
    value: str
    changed: bool


def options(run: StoredRun) -> list[Setting]:
    """The options of the method and of the tuner, all with their resolved values."""
    found = []
    for group in ("method", "tuner"):
        given = dig(run.info, group, "options") or {}
        resolved = dig(run.info, group, "resolved") or {}
        for key, value in {**resolved, **given}.items():
            changed = group == "method" and key in given
            found.append(
                Setting(f"{group} {dig(run.info, group, 'name') or ''}", str(key), _shown(value), changed)
            )
    return found


def sequence_settings(run: StoredRun) -> list[tuple[str, str]]:
    """(key, value) of everything that the resolved sequence states; a key is written as `--set` takes it.

    A task's own settings are listed only where they differ from the sequence's.
    """
    sequence = dict(run.info.get("sequence") or {})
    common = dict(flat({key: value for key, value in sequence.items() if key != "tasks"}, _shown))
    rows = list(common.items())
    for i, task in enumerate(sequence.get("tasks") or [], 1):
        rows += [(f"task {i}: {key}", value) for key, value in flat(task, _shown) if common.get(key) != value]
    return rows


def hardware(run: StoredRun) -> list[tuple[str, str]]:
    """(name, value) of the machine that ran it."""
    return list(flat(run.info.get("hardware"), _shown))


def conventions(run: StoredRun) -> list[tuple[str, str, str]]:
    """(metric, what, how): how the metrics of images were measured, in words."""
    rows = []
    for group, name in _GROUPS.items():
        for key, value in (dig(run.metrics, group, "convention") or {}).items():
            if isinstance(value, Mapping):
                rows += [(_words(key), _words(inner), _shown(each)) for inner, each in value.items()]
            elif key in ("ssim", "ms_ssim", "edges", "kid", "vendi", "pairwise", "drift"):
                rows.append((_words(key), "definition", _shown(value)))
            else:
                rows.append((name, _words(key), _shown(value)))
    return rows


def fid_convention(run: StoredRun) -> str:
    """What FID was computed from, "64 features of 128 images"; empty where the run has no FID."""
    features, images = (number(dig(run.metrics, "fidelity", "convention", key)) for key in ("dimension", "n"))
    return f"{fixed(features, 0)} features of {fixed(images, 0)} images" if features and images else ""


def fid_note(runs: Sequence[StoredRun]) -> str:
    """`fid_convention` of all runs that have one; several, where they differ."""
    return "; ".join(sorted({convention for run in runs if (convention := fid_convention(run))}))


def flat(value: Any, write: Callable[[Any], str], key: str = "") -> Iterator[tuple[str, str]]:
    """(key, value) of each leaf of nested settings: {"budget": {"updates": 10}} gives "budget.updates", "10"."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flat(inner, write, f"{key}.{name}" if key else str(name))
    elif key:
        yield key, write(value)


def _words(key: str) -> str:
    return _WORDS.get(key, key.replace("_", " "))


def _shown(value: Any) -> str:
    """A value as a reader writes it: a list with commas, null as a dash, a text as it is."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return ", ".join(map(_shown, value))
    return json.dumps(value, ensure_ascii=False)
