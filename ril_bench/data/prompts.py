"""Prompt sets: shipped sets, files, and sets on the Hugging Face hub.

A reference is one of

- a shipped set: shapes/train, shapes/eval;
- a published set by name (`NAMED`): animals, hpdv2, drawbench, ... A file that is in $RIL_BENCH_WEIGHTS is
  not downloaded;
- a file: one prompt a line (.txt), or a table with a text column (.json, .jsonl, .csv, .tsv, .parquet); see
  `ril_bench.data.tables`;
- a hub data set: owner/name, owner/name:split (default train), owner/name@revision:split. Pin the revision
  if you want to compare results.

The text column is the first of `prompt`, `prompts`, `text` and `caption` that the table has, in upper or
lower case. If it has none of these, the text column is the only column of text, if it is one of several columns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ril_bench.data.tables import SUFFIXES, has_known_suffix, is_text, kind_of, read_table
from ril_bench.errors import InfrastructureError, UserError, nearest
from ril_bench.remote.published import used_by
from ril_bench.remote.search import FOLDER
from ril_bench.storage.files import expanded

SHIPPED = ("shapes/eval", "shapes/train")
STYLES = ("anime", "concept-art", "paintings", "photo")  # of HPDv2's benchmark, 800 prompts each
#: published sets: None if `published` lists the files of the set, else the set's name on the hub
NAMED: dict[str, str | None] = {
    "animals": None,  # the 45 animals of DDPO and AlignProp
    "animals/eval": None,  # 6 other animals, of AlignProp
    "hpdv2": None,  # HPSv2's benchmark (arXiv 2306.09341), all four styles
    **{f"hpdv2/{style}": None for style in STYLES},
    "hpdv2/train": None,  # AlignProp's for HPSv2: 750 prompts of hpdv2/photo, so evaluate on another style
    "hpdv2/eval": None,  # the other 50 prompts of hpdv2/photo
    "partiprompts": None,  # P2 (arXiv 2206.10789)
    "drawbench": "sayakpaul/drawbench:train",  # of Imagen (arXiv 2205.11487); not pinned
    "pick-a-pic": "yuvalkirstain/pickapic_v1_no_images:validation_unique",  # arXiv 2305.01569; not pinned
}
COLUMNS = ("prompt", "prompts", "text", "caption")
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(:(?P<split>[\w.-]+))?")


def is_file(reference: str) -> bool:
    """Whether a reference names a file. The file need not exist."""
    if reference in NAMED or reference in SHIPPED:
        return False
    return has_known_suffix(reference) or reference.startswith(("/", "./", "../", "~"))


def locate_prompts(reference: str) -> Path | None:
    """The file that a reference names, or None for a named set or a set on the hub.

    Loads nothing.

    Raises:
        UserError: there is no such file or set, or the reference has none of the known forms.
    """
    if reference in NAMED:
        return None
    if is_file(reference) or os.path.isfile(reference):
        path = expanded(reference)
        if not os.path.isfile(path):
            raise UserError(f"no prompts at {reference}", where=str(path.absolute()))
        if not has_known_suffix(reference):
            raise UserError(
                f"the name {path.name} does not state the format of the prompts",
                where=str(path.absolute()),
                hint=f"rename it so that it ends in {', '.join(SUFFIXES)}",
            )
        return path
    if reference.startswith("shapes/") and reference not in SHIPPED:
        raise UserError(f"no prompt set is called {reference!r}", hint=nearest(reference, SHIPPED))
    if not _HUB.fullmatch(reference):
        raise UserError(
            f"{reference!r} names no prompt set",
            hint=f"{nearest(reference, {*SHIPPED, *NAMED})}; or name a file ({', '.join(SUFFIXES)}), "
            "or a data set of the hub as owner/name:split",
        )
    return None


def load_prompts(reference: str) -> list[str]:
    """The prompts of a set, in the order of the set, without spaces at their ends.

    Skips blank lines of a .txt file.

    Raises:
        UserError: the set is missing or empty, has no text column, or has a row that is not text.
        InfrastructureError: the hub does not answer.
    """
    path = locate_prompts(reference)
    if reference in NAMED:
        return [prompt for source in _sources(reference) for prompt in load_prompts(source)]
    if reference in SHIPPED:
        from ril_bench.worlds.shapes.captions import prompts

        return list(prompts(reference.removeprefix("shapes/")))
    if path:
        table = read_table(path)
        column = text_column(table.names, table.texts, reference, table.headless) if table.names else ""
        texts: list[Any] = table.column(column)
    else:
        texts = _on_hub(reference)
    if not texts:
        raise UserError(
            "the prompt set is empty", where=reference, hint="write one prompt a line, or name another set"
        )
    for row, text in enumerate(texts):
        if not is_text(text):
            raise UserError(
                f"row {row + 1} is not text: {kind_of(text)}",
                where=reference,
                hint="see whether this is the column of the prompts; remove the row, or write a text",
            )
    return [text.strip() for text in texts]


def are_here(reference: str) -> bool:
    """Whether `load_prompts` finds a set on this machine. Downloads nothing.

    Raises UserError as `locate_prompts` does.
    """
    if locate_prompts(reference) is not None or reference in SHIPPED:
        return True
    if reference in NAMED and NAMED[reference] is None:
        return all(file.cached_path() is not None for file in used_by(reference))
    from datasets.config import HF_DATASETS_CACHE

    name = (NAMED.get(reference) or reference).partition("@")[0].partition(":")[0]
    local = [Path(source) for source in _sources(reference)] if reference in NAMED else []
    return (
        any(path.is_file() for path in local) or (Path(HF_DATASETS_CACHE) / name.replace("/", "___")).is_dir()
    )


def _sources(name: str) -> list[str]:
    """The files, or the data set of the hub, from which a published set is read.

    Raises what `RemoteFile.fetch` raises.
    """
    on_hub = NAMED[name]
    if on_hub is None:
        return [str(file.fetch()) for file in used_by(name)]
    if folder := os.environ.get(FOLDER):
        here = [expanded(folder) / f"{name}{suffix}" for suffix in SUFFIXES]
        return [str(file) for file in here if file.is_file()][:1] or [on_hub]
    return [on_hub]


def _on_hub(reference: str) -> list[Any]:
    """The prompts of a data set of the hub."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    match = _HUB.fullmatch(reference)
    assert match is not None, "locate_prompts has checked it"
    name, revision, split = match["name"], match["revision"], match["split"] or "train"
    try:
        table = load_dataset(name, revision=revision, split=split)
    except (DatasetNotFoundError, ValueError) as error:
        raise UserError(
            f"cannot load the prompts: {error}",
            where=reference,
            hint="name a data set of the hub as owner/name:split, or a file of prompts",
        ) from error
    except Exception as error:  # the hub, the network, or a proxy whose address is none
        raise InfrastructureError(
            f"the hub does not answer: {error}",
            where=reference,
            hint="check the connection, or use a file of prompts",
        ) from error
    kinds = {name: getattr(feature, "dtype", None) for name, feature in table.features.items()}
    texts = [name for name, kind in kinds.items() if kind in ("string", "large_string")]
    return list(table[text_column(table.column_names, texts, reference)])


def text_column(
    names: Sequence[str], texts: Sequence[str], reference: str, headless: str | None = None
) -> str:
    """The column of a table that holds its prompts.

    Args:
        names: the names of all columns.
        texts: the names of those that hold text.
        reference: the table, for messages.
        headless: the first line of a table that may have no names.

    Raises UserError where no column can be found, or several could be meant.
    """
    by_lower = {name.lower(): name for name in reversed(names)}
    for column in COLUMNS:
        if column in by_lower:
            return by_lower[column]
    if headless is not None:
        raise UserError(
            f"the first line does not name a column of prompts: {headless}"[:200],
            where=reference,
            hint=f"write {COLUMNS[0]} above the prompts, or save one prompt a line as .txt",
        )
    if len(texts) == 1:
        return texts[0]
    raise UserError(
        f"no column holds the prompts: the columns are {', '.join(names)}",
        where=reference,
        hint=f"rename the column of the prompts to {COLUMNS[0]!r}",
    )
