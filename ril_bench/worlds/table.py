"""Worlds: what belongs to the images that a model makes. No torch, and nothing of a world is imported here.

The same reward has weights of its own in each world, as a taste learned from 64-pixel shapes says nothing of
photographs. So a sequence says `aesthetic`, and its model says whose: `shapes-64` draws in the world `shapes`, every
other model in the `real` one, where the published weights are meant. A sequence on a shapes model of one's own says
`world: shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """What a model's images are judged and measured by.

    Attributes:
        models: the names of the models that draw in it.
        rewards: what is a reward in this world alone, or has weights of its own here: "module:Class" by name.
        measures: what its images are measured with: a "module:function", see `ril_bench.worlds.features`.
        figures: the figures of theirs that take published files (`RemoteFile.used_by`).
    """

    name: str
    models: tuple[str, ...]
    rewards: Mapping[str, str]
    measures: str
    figures: tuple[str, ...] = ()


SHAPES = World(
    name="shapes",
    models=("shapes-64",),
    rewards={
        "aesthetic": "ril_bench.worlds.shapes.rewards:ShapesAesthetic",
        "preference": "ril_bench.worlds.shapes.rewards:ShapesPreference",
        "clip_score": "ril_bench.worlds.shapes.rewards:ShapesClipScore",
        "attributes": "ril_bench.worlds.shapes.rewards:Attributes",
    },
    measures="ril_bench.worlds.shapes.extractors:load",
)

REAL = World(
    name="real",
    models=(),  # every model that no other world claims
    rewards={
        "aesthetic": "ril_bench.rewards.aesthetic:Aesthetic",
        "hpsv2": "ril_bench.rewards.hps:Hpsv2",
        "hpsv2.1": "ril_bench.rewards.hps:Hpsv21",
        "pickscore": "ril_bench.rewards.pickscore:Pickscore",
        "imagereward": "ril_bench.rewards.imagereward:Imagereward",
        "clip_score": "ril_bench.rewards.clip_score:ClipScore",
    },
    measures="ril_bench.worlds.real:load",
    figures=("FID", "LPIPS", "DINOv2"),
)

WORLDS = {world.name: world for world in (REAL, SHAPES)}


def world_of(model: object) -> World:
    """The world that a model draws in, by the model's name, folder or hub id."""
    return next((world for world in WORLDS.values() if model in world.models), REAL)
