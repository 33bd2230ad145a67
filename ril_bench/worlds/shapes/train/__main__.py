"""`python -m ril_bench.worlds.shapes.train [STAGE ...]`: makes the world's weights anew, all stages or those named.

About two hours on two CPU cores. Each stage needs what the ones before it wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from ril_bench.worlds.shapes.train import autoencoder, classifier, denoiser, encoders, quality, tastes

STAGES: dict[str, Callable[[], None]] = {
    "autoencoder": autoencoder.train,
    "decoder": autoencoder.refine,
    "denoiser": denoiser.train,
    "classifier": classifier.train,
    "clip-reward": partial(encoders.train, encoders.REWARD, seed=20),
    "clip-probe": partial(encoders.train, encoders.PROBE, seed=30),
    "aesthetic": tastes.train_aesthetic,
    "preference": tastes.train_preference,
    "quality": quality.measure,
}


def main(names: list[str]) -> None:
    if unknown := [name for name in names if name not in STAGES]:
        sys.exit(f"no stage is called {', '.join(unknown)}; there are: {', '.join(STAGES)}")
    for name in names or STAGES:
        STAGES[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
