"""What all stages share: folder and scale, the log, weight files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True)
class Recipe:
    """The folder and the scale of all stages.

    Attributes:
        folder: the folder of the weights; it gets the same files as the `weights/` that ship.
        scale: a factor on the numbers of updates, images and measurements; 1 is the recipe of the weights that ship.
        device: where the denoisers are trained; everything else runs on the CPU.
    """

    folder: Path
    scale: float = 1.0
    device: str = "cpu"

    def scaled(self, count: int, least: int = 2) -> int:
        """A number of the full recipe times the scale, and not below `least`."""
        return max(round(self.scale * count), least)

    @property
    def pipeline(self) -> Path:
        return self.folder / "pipeline"

    @property
    def flow_pipeline(self) -> Path:
        return self.folder / "pipeline-flow"

    @property
    def classifier(self) -> Path:
        return self.folder / "classifier.safetensors"

    @property
    def reward_encoder(self) -> Path:
        return self.folder / "clip-reward"

    @property
    def probe_encoder(self) -> Path:
        return self.folder / "clip-probe"

    @property
    def aesthetic(self) -> Path:
        return self.folder / "aesthetic.safetensors"

    @property
    def preference(self) -> Path:
        return self.folder / "preference.safetensors"

    def log(self, stage: str, **values: float | str) -> None:
        """Prints one line and appends it to training.jsonl."""
        rounded = {
            key: round(value, 5) if isinstance(value, float) else value for key, value in values.items()
        }
        line = json.dumps({"stage": stage} | rounded)
        print(line, flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "training.jsonl").open("a") as file:
            file.write(line + "\n")


def halves(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors in half precision, contiguous, as the weights ship."""
    return {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}


def write(state: Mapping[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves(state), path)
