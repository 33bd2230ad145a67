"""Whether the parts of a pipeline fit each other: tokens, embeddings, latents and the size of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ril_bench.diffusion.families import Family, latent_size
from ril_bench.diffusion.parts import CLIP
from ril_bench.errors import UserError, text_of
from ril_bench.metrics.structure import WINDOW

LEAST = 3  # tokens: the start, one of the prompt, the end


def check_fit(
    parts: Mapping[str, nn.Module], classes: Mapping[str, Any], family: type[Family], folder: Path
) -> None:
    """Raises UserError where parts of a pipeline's folder are made for other models.

    Args:
        parts: the parts that have weights; their values are not needed.
        classes: the classes of all parts.
    """
    lengths: dict[str, int] = {}
    for name in (name for name in family.tokenizers if name in classes):
        encoder = name.replace("tokenizer", "text_encoder")
        if encoder in parts:
            length = _check_tokenizer(classes[name], folder / name, parts[encoder], encoder)
            lengths |= {name: length} if length else {}
    # the embeddings of the encoders are put side by side, token by token
    _same(lengths, "the tokenizers cut prompts after different numbers of tokens", folder)
    denoiser: Any = parts[family.denoiser].config
    vae: Any = parts["vae"].config
    channels = {
        f"input of the {family.denoiser}": denoiser.in_channels,
        f"output of the {family.denoiser}": denoiser.out_channels or denoiser.in_channels,
        "latents of the vae": vae.latent_channels,
    }
    _same(channels, "the latents have different numbers of channels", folder)
    configs = {name: part.config for name, part in parts.items()}
    for key, (fits, given) in family.text_sizes(configs).items():
        if not fits:
            raise _misfit(
                f"{key} of the {family.denoiser} is {denoiser.get(key)!r}, and the text encoders give {given}",
                folder / family.denoiser / "config.json",
            )
    _check_size(latent_size(denoiser), 2 ** (len(vae.block_out_channels) - 1), folder / family.denoiser)


def _same(numbers: Mapping[str, int], what: str, folder: Path) -> None:
    if len({*numbers.values()}) > 1:
        raise _misfit(f"{what}: {', '.join(f'{name} {number}' for name, number in numbers.items())}", folder)


def _check_size(latents: tuple[int, int], scale: int, denoiser: Path) -> None:
    """scale: pixels for each side of a latent, as the pipelines compute it."""
    height, width = (side * scale for side in latents)
    if min(height, width) < WINDOW:
        least = -(-WINDOW // scale)
        raise UserError(
            f"the images of this model have {height} x {width} pixels, and the metrics need {WINDOW} x {WINDOW}",
            where=f"sample_size in {denoiser / 'config.json'}",
            hint=f"choose a model whose sample_size is at least {least}, or [{least}, {least}]",
        )


def _check_tokenizer(cls: Any, folder: Path, encoder: Any, name: str) -> int | None:
    """Raises UserError where an encoder cannot read the tokens of the tokenizer in a folder.

    Returns how many tokens a prompt has, None where any number fits the encoder.
    """
    try:
        tokenizer = cls.from_pretrained(str(folder))
        highest, length = max(tokenizer.get_vocab().values()), tokenizer.model_max_length
    except Exception as error:  # the library raises errors of many kinds for files that do not fit
        raise UserError(
            f"the {folder.name} cannot be read: {text_of(error)}"[:500],
            where=str(folder),
            hint="get the tokenizer again, as the library that saved it wrote it",
        ) from error
    if highest >= encoder.config.vocab_size:
        raise _misfit(
            f"the {folder.name} has tokens up to number {highest}, and the {name} knows {encoder.config.vocab_size}",
            folder,
        )
    if not isinstance(encoder, CLIP):
        return None
    most = encoder.config.max_position_embeddings
    if type(length) is not int or not LEAST <= length <= most:
        # transformers' default is 1e30
        known = "missing" if isinstance(length, int) and length > 10**9 else repr(length)[:100]
        raise UserError(
            f"model_max_length of the {folder.name} is {known}; the {name} reads {LEAST} to {most} tokens",
            where=str(folder / "tokenizer_config.json"),
            hint=f'write "model_max_length": {most} there, if the model was trained with {most} tokens',
        )
    return int(length)


def _misfit(what: str, where: Path) -> UserError:
    return UserError(what, where=str(where), hint="get the parts that were saved together with this model")
