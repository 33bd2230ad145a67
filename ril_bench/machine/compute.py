"""Number formats, and options that trade time for memory. No torch.

These options are not part of a sequence, so the same YAML runs on a laptop and on a GPU. Number formats change results
a little: run.json records them (hardware.compute) and a resume keeps them. The other options change results by rounding
alone.
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
    """Options of the arithmetic.

    Adapters, optimizer, sampler and rewards are always in float32.

    float16 is not offered: small gradients vanish in it, and SDXL's autoencoder overflows.
    """

    #: of the denoiser and the text encoders
    dtype: Format = Field(default="float32")
    #: of the autoencoder, whose images the rewards see
    vae_dtype: Format = Field(default="float32")
    #: calls and decodings with a gradient keep only the inputs of their blocks, and run the blocks again in the
    #: backward call: about a third more time in these calls, and a fraction of the memory
    checkpointing: bool = Field(default=False)
    #: images are decoded one at a time
    slicing: bool = Field(default=False)

    @property
    def numerics(self) -> dict[str, Any]:
        """The options that change results by more than rounding in the last bit of float32."""
        return self.model_dump(include={"dtype", "vae_dtype"})


PLAIN = Compute()


def compute_of(settings: Settings | Iterable[str]) -> Compute:
    """Reads {"dtype": "bfloat16"}, or strings such as "dtype=bfloat16".

    Raises UserError with all faults.
    """
    source = Source("--compute", {})
    for key, value in parse_settings(settings, "--compute").items():
        set_value(source, key, value, f"--compute {key}")
    return validated(Compute, source)
