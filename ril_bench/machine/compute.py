"""How a run's arithmetic is done on a machine: number formats, and what trades time for memory. No torch.

None of it is part of a sequence, so the same YAML runs on a laptop and on a GPU. Number formats move results a
little: they are recorded in run.json (hardware.compute) and kept by a resume. The other options leave results as they
are up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from ril_bench.config.settings import Settings, parse_settings
from ril_bench.config.validation import Part, validated
from ril_bench.config.yaml_source import Source, set_value

Format = Literal["float32", "bfloat16"]


class Compute(Part):
    """Adapters, the optimizer, the sampler's steps and the rewards are in float32 whatever is chosen here.

    float16 is no choice: small gradients vanish in it, and SDXL's autoencoder overflows.
    """

    #: of the denoiser and the text encoders
    dtype: Format = Field(default="float32")
    #: of the autoencoder, whose images the rewards see
    vae_dtype: Format = Field(default="float32")
    #: the graded calls and decodings keep their blocks' inputs alone and run the blocks again in the backward call:
    #: about a third more time in them, a fraction of the memory
    checkpointing: bool = Field(default=False)
    #: images are decoded one at a time
    slicing: bool = Field(default=False)

    @property
    def numerics(self) -> dict[str, Any]:
        """What moves results by more than rounding in the last bit of float32."""
        return self.model_dump(include={"dtype", "vae_dtype"})


PLAIN = Compute()


def compute_of(settings: Settings | Iterable[str]) -> Compute:
    """From {"dtype": "bfloat16"}, or from texts as "dtype=bfloat16". Raises UserError with all faults."""
    source = Source("--compute", {})
    for key, value in parse_settings(settings, "--compute").items():
        set_value(source, key, value, f"--compute {key}")
    return validated(Compute, source)
