"""PickScore (arXiv 2305.01569): CLIP ViT-H-14, fine-tuned on the choices of users of Pick-a-Pic."""

from __future__ import annotations

from ril_bench.remote.published import published
from ril_bench.rewards.checkpoints import read_state
from ril_bench.rewards.clip import Clip, HfClip, Tower, clip_config
from ril_bench.rewards.cosine import CosineReward

WEIGHTS = published("pickscore")


class Pickscore(CosineReward):
    """exp(logit scale) times the cosine of image and prompt, about 20 to 23 [code: yuvalkirstain/PickScore]."""

    name = "pickscore"
    unit = "100 cos"  # its logit scale is at CLIP's bound of 100
    weights = (WEIGHTS,)
    config = clip_config(
        Tower(32, 1280, 16), Tower(24, 1024, 16), patch=14, dimension=1024, act="gelu"
    )  # laion/CLIP-ViT-H-14-laion2B-s32B-b79K

    def load(self) -> Clip:
        file = WEIGHTS.fetch()
        clip = HfClip(self.config, read_state(file), where=file, device=self.device)
        self.factor = float(clip.model.logit_scale.exp())
        return clip
