"""Whether runs have the same settings: only then is their mean the mean of one thing.

Settings are those of the sequence with its tuners, and the options of the method. Orders, seeds, calibrations and
machines are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ril_bench.errors import UserError
from ril_bench.registry import short_name
from ril_bench.reporting.place import Place
from ril_bench.reporting.settings import flat
from ril_bench.sequences.spec import Sequence as SequenceSpec
from ril_bench.storage.read import StoredRun, dig

SHOWN = 3  # differences that one message lists
UNSET = "not set"
_OF_TASK = re.compile(r"^tasks\.[^.]*\.")
T = TypeVar("T")


def refuse_mixed(runs: Iterable[StoredRun]) -> None:
    """Raises UserError where two runs of one method, in one place, have other settings.

    It names both runs and what differs.
    """
    distinct = _firsts(((run, _settings(run)) for run in runs), lambda one: repr(one[1]))
    for (a, own), (b, other) in combinations(distinct.values(), 2):
        if found := [*_of_sequence(own, other), *_of_method(own, other)]:
            raise UserError(
                f"runs of {a.name} on {Place.of(a).title} have other settings: {_listed(found)}",
                where=f"{a.folder} and {b.folder}",
                hint="leave one of them out, or run one under a --label of its own",
            )


def other_sequences(runs: Sequence[StoredRun], others: Sequence[StoredRun]) -> list[str]:
    """A sentence for each method of `others` that ran other settings of a sequence than the first method of `runs`.

    A difference between such methods is one of their settings, too.
    """
    firsts = _firsts(runs, Place.of)
    methods = _firsts(others, lambda run: (Place.of(run), run.name))
    return [
        f"{first.name} and {name} ran other settings of {place.title}: {_listed(found)}"
        for (place, name), run in methods.items()
        if (first := firsts.get(place)) and (found := _of_sequence(_settings(first), _settings(run)))
    ]


def sequence_content(info: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The sequence of a run.json, and whether it has every key that a sequence has today.

    Keys that an earlier version did not have get their defaults. False for content that is no sequence of this
    version: of the keys that it lacks nothing is known.
    """
    content = info.get("sequence") or {}
    try:
        return SequenceSpec.model_validate(content).model_dump(mode="json"), True
    except ValidationError:
        return dict(content), False


@dataclass(frozen=True)
class _Settings:
    """The settings of a run by dotted keys; those of a task by its reward, as tasks may be in any order.

    Attributes:
        whole: whether a key that `sequence` lacks is not set; else nothing is known of it.
        digest: the sequence's, by its order: it also sees paths as they were written.
        tuners: the values of all options of each task's tuner.
        method: the values of all options of the method.
        given: the keys of `method` that the user set.
    """

    sequence: dict[str, str]
    whole: bool
    digest: dict[str, str]
    tuners: dict[str, str]
    method: dict[str, str]
    given: list[str]


def _settings(run: StoredRun) -> _Settings:
    content, whole = sequence_content(run.info)
    tasks, records = content.get("tasks") or [], run.info.get("tuners") or []
    rewards = [short_name(str(dig(task, "reward"))) for task in tasks]
    tuners = {reward: {"tuner": dig(one, "resolved")} for reward, one in zip(rewards, records, strict=False)}
    stated = run.info.get("method")
    given, resolved = (_flat({"method": dig(stated, key) or {}}) for key in ("options", "resolved"))
    digest = run.info.get("sequence_sha256")
    return _Settings(
        sequence=_flat({**content, "tasks": dict(zip(rewards, tasks, strict=True))}),
        whole=whole,
        digest={f"sequence_sha256 of the order {run.order}": str(digest)[:12]} if digest else {},
        tuners=_flat({"tasks": tuners}),
        method={**given, **resolved},
        given=list(given),
    )


def _of_sequence(a: _Settings, b: _Settings) -> list[str]:
    """What differs in the sequence and its tuners, in words.

    A tuner's option that one side lacks was added later, with a default: it is no difference.
    """
    every = {*a.sequence, *b.sequence} if a.whole and b.whole else ()
    found = _apart(a.sequence, b.sequence, every) | _apart(a.tuners, b.tuners)
    inherited = {key for key in found if _OF_TASK.match(key) and _OF_TASK.sub("", key) in found}
    shown = [words for key, words in found.items() if key not in inherited]
    return shown or list(_apart(a.digest, b.digest).values())


def _of_method(a: _Settings, b: _Settings) -> list[str]:
    """What differs in the options of the method. One that a side lacks counts where the user of the other set it."""
    return list(_apart(a.method, b.method, {*a.given, *b.given}).values())


def _apart(a: Mapping[str, str], b: Mapping[str, str], alone: Collection[str] = ()) -> dict[str, str]:
    """The keys with other values, each in words. A key that one side lacks counts if it is in `alone`."""
    return {
        key: f"{key} is {a.get(key, UNSET)} and {b.get(key, UNSET)}"
        for key in {**a, **b}
        if a.get(key) != b.get(key) and (key in alone or (key in a and key in b))
    }


def _firsts(items: Iterable[T], key: Callable[[T], Any]) -> dict[Any, T]:
    """The first item of each key."""
    found: dict[Any, T] = {}
    for item in items:
        found.setdefault(key(item), item)
    return found


def _flat(tree: Mapping[str, Any]) -> dict[str, str]:
    """{"budget.updates": "10"}; an empty mapping has no key."""
    return {key: text for key, text in flat(tree, _text) if text != "{}"}


def _text(value: Any) -> str:
    """A value as JSON; of a file only its name, because its folder is no setting."""
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, str) and Path(value).is_absolute():
        value = Path(value).name
    return json.dumps(value)


def _listed(found: Sequence[str]) -> str:
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
