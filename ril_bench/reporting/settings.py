"""A run's settings for its page: options of the method and the tuner, the resolved sequence, and conventions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ril_bench.reporting.text import MISSING, fixed
from ril_bench.storage.read import StoredRun, dig
from ril_bench.storage.run_files import number

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
    """The options of the method and of each task's tuner, with the values of all of them.

    Runs of earlier versions state only the options of the tuner that their sequence sets.
    """
    given = dig(run.info, "method", "options") or {}
    resolved = dig(run.info, "method", "resolved") or {}
    method = f"method {dig(run.info, 'method', 'name') or ''}"
    found = [
        Setting(method, str(key), _shown(value), key in given) for key, value in {**resolved, **given}.items()
    ]
    for tuner, values in _tuners(run):
        found += [Setting(tuner, str(key), _shown(value), False) for key, value in values.items()]
    return found


def _tuners(run: StoredRun) -> Iterator[tuple[str, dict[str, Any]]]:
    """(title, options) of each tuner; tasks with the same tuner and options have one, "tuner draft of tasks 1, 3"."""
    records = run.info.get("tuners")
    if not records:
        yield f"tuner {run.tuner}", dig(run.info, "tuner", "options") or {}
        return
    tasks: dict[str, list[int]] = {}
    for i, record in enumerate(records, 1):
        tasks.setdefault(json.dumps(record, sort_keys=True), []).append(i)
    for numbers in tasks.values():
        record, several = records[numbers[0] - 1], len(numbers) > 1
        of = f" of task{'s' * several} {', '.join(map(str, numbers))}" if len(tasks) > 1 else ""
        yield f"tuner {dig(record, 'name') or ''}{of}", dig(record, "resolved") or {}


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
