"""Which rewards and feature networks belong to a model. It imports no torch and no world.

A reward has different weights in each world, because a taste that is learned from 64-pixel shapes does not apply to
photographs. A sequence names the reward `aesthetic`, and the world of its model decides which weights that means.
The models `shapes-64` and `shapes-flow` belong to the world `shapes`. Every other model belongs to the world `real`,
which has the published weights. A sequence on your own shapes model states `world: shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: the rewards of every world, which need no weights: "module:Class" by name
EVERYWHERE = {
    "compressibility": "ril_bench.rewards.jpeg:Compressibility",
    "incompressibility": "ril_bench.rewards.jpeg:Incompressibility",
    "jpeg_kb": "ril_bench.rewards.jpeg:JpegKb",
    "symmetry": "ril_bench.rewards.pixels:Symmetry",
    "brightness": "ril_bench.rewards.pixels:Brightness",
    "colorfulness": "ril_bench.rewards.pixels:Colorfulness",
}


@dataclass(frozen=True)
class FeatureNetwork:
    """A feature network with published weights. A run without it lacks some metrics.

    Attributes:
        metrics: the metrics that need it, in words.
        user: the name of the network in `RemoteFile.used_by` of its files.
        package: the Python package that defines it, if that package is optional.
        extra: the extra of ril-bench that installs the package.
    """

    metrics: str
    user: str
    package: str | None = None
    extra: str | None = None


@dataclass(frozen=True)
class World:
    """The rewards and the feature networks of a kind of images.

    Attributes:
        models: the names of the models that generate such images.
        rewards: the rewards that only this world has, or that have their own weights in it: "module:Class" by name.
        side: of its images, in pixels, where its rewards judge no others.
        extractors: "module:function" that loads the feature networks; see `ril_bench.worlds.features`.
        networks: the feature networks that need published files.
        tastes: "module:function" that states the tastes which the rewards learned, for images and their prompts; None
            where no taste is stated. The function returns {name of the reward: (N,) tastes}.
    """

    name: str
    models: tuple[str, ...]
    rewards: Mapping[str, str]
    extractors: str
    networks: tuple[FeatureNetwork, ...] = ()
    tastes: str | None = None
    side: int | None = None


SHAPES = World(
    name="shapes",
    models=("shapes-64", "shapes-flow"),
    rewards={
        "aesthetic": "ril_bench.worlds.shapes.rewards:ShapesAesthetic",
        "preference": "ril_bench.worlds.shapes.rewards:ShapesPreference",
        "clip_score": "ril_bench.worlds.shapes.rewards:ShapesClipScore",
        "attributes": "ril_bench.worlds.shapes.rewards:Attributes",
    },
    extractors="ril_bench.worlds.shapes.extractors:load",
    tastes="ril_bench.worlds.shapes.reading:tastes_of",
    side=64,
)

INCEPTION = FeatureNetwork("FID or KID", user="FID", package="torch_fidelity", extra="real")
DINO = FeatureNetwork("feature cosine, diversity or FD-DINOv2", user="DINOv2")
ALEXNET = FeatureNetwork("LPIPS", user="LPIPS")

REAL = World(
    name="real",
    models=(),  # every model that belongs to no other world
    rewards={
        "aesthetic": "ril_bench.rewards.aesthetic:Aesthetic",
        "hpsv2": "ril_bench.rewards.hps:Hpsv2",
        "hpsv2.1": "ril_bench.rewards.hps:Hpsv21",
        "pickscore": "ril_bench.rewards.pickscore:Pickscore",
        "imagereward": "ril_bench.rewards.imagereward:Imagereward",
        "clip_score": "ril_bench.rewards.clip_score:ClipScore",
    },
    extractors="ril_bench.worlds.real:load",
    networks=(INCEPTION, DINO, ALEXNET),
)

WORLDS = {world.name: world for world in (REAL, SHAPES)}


def rewards_of(world: World) -> dict[str, str]:
    """The rewards of a world that ship: "module:Class" by name."""
    return {**EVERYWHERE, **world.rewards}


def world_of(model: object) -> World:
    """The world of a model, by the model's name, folder or hub id."""
    return next((world for world in WORLDS.values() if model in world.models), REAL)
