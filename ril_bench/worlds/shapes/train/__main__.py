"""Trains the world's weights: `python -m ril_bench.worlds.shapes.train [STAGE ...]`.

Without a name, it runs all stages.

About two hours on two CPU cores. Each stage needs the files of the stages before it. The weights that ship are in the
package's `weights/`, where nothing is overwritten: `--out` names the folder to write to.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ril_bench.worlds.shapes.train import autoencoder, classifier, denoiser, encoders, quality, tastes
from ril_bench.worlds.shapes.train.common import Recipe

STAGES: dict[str, Callable[[Recipe], None]] = {
    "autoencoder": autoencoder.train,
    "decoder": autoencoder.refine,
    "denoiser": denoiser.train,
    "web": denoiser.train_on_web,
    "classifier": classifier.train,
    "clip-reward": lambda recipe: encoders.train(recipe, recipe.reward_encoder, seed=20),
    "clip-probe": lambda recipe: encoders.train(recipe, recipe.probe_encoder, seed=30),
    "aesthetic": tastes.train_aesthetic,
    "preference": tastes.train_preference,
    "quality": quality.measure,
}


def main(arguments: list[str] | None = None) -> None:
    """Runs the stages that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m ril_bench.worlds.shapes.train", description=__doc__)
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", help=f"{', '.join(STAGES)}; without a name: all of them"
    )
    parser.add_argument("--out", type=Path, default=Path("shapes-weights"), help="the folder of the weights")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="a factor on updates and images; use 0.001 for a quick test"
    )
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.stages if name not in STAGES]:
        parser.error(f"no stage is called {', '.join(unknown)}; there are: {', '.join(STAGES)}")
    recipe = Recipe(given.out, given.scale)
    for name in given.stages or STAGES:
        STAGES[name](recipe)


if __name__ == "__main__":
    main()
