"""Stage `tokenizer`: a CLIPTokenizer in which every word is one token."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from ril_bench.rewards.tokenizers import clip_tokenizer_from
from ril_bench.worlds.shapes import captions

CONTEXT = 16
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def write(folder: Path) -> CLIPTokenizer:
    """Learns byte-pair merges until each word of the grammar is one token, and saves them.

    The end token has the highest id, because both CLIP implementations pool the text at that token.
    """
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator(captions.words(), trainer)
    learned = json.loads(bpe.to_str())["model"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    known = dict.fromkeys([*letters, *(f"{letter}</w>" for letter in letters)]) | dict.fromkeys(
        learned["vocab"]
    )
    vocab = {token: index for index, token in enumerate([*known, BEGIN, END])}
    merges = [tuple(pair) for pair in learned["merges"]]
    result = clip_tokenizer_from(
        vocab,
        merges,
        unk_token=END,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        model_max_length=CONTEXT,
    )
    folder.mkdir(parents=True, exist_ok=True)
    result.save_pretrained(folder)
    # transformers 4 reads these two; transformers 5 writes tokenizer.json alone.
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n"
    )
    return result
