"""CLIP score: 100 times the cosine of image and prompt, by an encoder that no reward uses."""

from __future__ import annotations

from ril_bench.remote.published import published
from ril_bench.rewards.checkpoints import read_state
from ril_bench.rewards.clip import Clip, HfClip, Tower, clip_config
from ril_bench.rewards.cosine import CosineReward

WEIGHTS = published("clip-vit-b-32")


class ClipScore(CosineReward):
    """100 cos(image, prompt) (arXiv 2104.08718, without its clipping at 0 and its factor 2.5).

    The encoder is OpenAI's CLIP ViT-B/32, as in the paper. It is a probe: no reward has this encoder, since a model
    that exploits its reward would raise the probe as well. A subclass whose `load` returns another `Clip` scores with
    any model of open_clip or transformers: `OpenClip.load(folder, self.device)`, `HfClip.load(folder, self.device)`.
    """

    name = "clip_score"
    unit = "100 cos"
    factor = 100.0
    weights = (WEIGHTS,)
    config = clip_config(
        Tower(12, 768, 12), Tower(12, 512, 8), patch=32, dimension=512, act="quick_gelu"
    )  # openai/clip-vit-base-patch32

    def load(self) -> Clip:
        file = WEIGHTS.fetch()
        return HfClip(self.config, read_state(file), where=file, device=self.device)
