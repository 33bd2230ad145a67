"""CLIP's tokenizer of transformers, from a vocabulary in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import CLIPTokenizer


def clip_tokenizer_from(
    vocabulary: Mapping[str, int], merges: Iterable[tuple[str, str]], **options: Any
) -> CLIPTokenizer:
    """A CLIPTokenizer with this vocabulary and these merges, the most important merge first.

    transformers 5 also accepts the tables themselves. transformers 4 reads files only, so this writes them.
    """
    with TemporaryDirectory() as folder:
        words, pairs = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        words.write_text(json.dumps(dict(vocabulary)), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        pairs.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return CLIPTokenizer(str(words), str(pairs), **options)
