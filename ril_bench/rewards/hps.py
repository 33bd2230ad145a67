"""The Human Preference Score (arXiv 2306.09341): CLIP ViT-H-14 fine-tuned on pairs that people judged."""

from __future__ import annotations

from typing import Any, ClassVar

import open_clip

from ril_bench.remote.file import RemoteFile
from ril_bench.remote.published import published
from ril_bench.rewards.checkpoints import read_state
from ril_bench.rewards.clip import Clip, OpenClip
from ril_bench.rewards.cosine import CosineReward
from ril_bench.rewards.preprocessing import LongestSide


class Hpsv2(CosineReward):
    """HPSv2, version 2.0: cosine of image and prompt, about 0.2 to 0.3 (arXiv 2306.09341, eq. 1) [code].

    The published code computes in half precision; here every reward is computed in fp32.
    """

    name = "hpsv2"
    unit = "cosine"
    file: ClassVar[RemoteFile] = published("hpsv2")
    weights = (file,)
    config: ClassVar[dict[str, Any]] = open_clip.get_model_config("ViT-H-14")

    def load(self) -> Clip:
        file = self.file.fetch()
        return OpenClip(
            self.config,
            read_state(file),
            tokenizer=open_clip.SimpleTokenizer(),
            where=file,
            device=self.device,
            preprocessing=LongestSide(self.config["vision_cfg"]["image_size"]),
        )


class Hpsv21(Hpsv2):
    """HPSv2, version 2.1, about 0.2 to 0.4: other weights, trained on better data; not comparable with 2.0."""

    name = "hpsv2.1"
    file = published("hpsv2.1")
    weights = (file,)
