"""Every file of others that RIL-Bench may ask for, pinned, in one table. No torch.

Digests and revisions were taken from public records of these files; what none of them told is None, never guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ril_bench.registry import nearest
from ril_bench.remote import RemoteFile
from ril_bench.worlds import REAL

if TYPE_CHECKING:
    from ril_bench.spec import Sequence

FILES = (
    RemoteFile(
        name="clip-vit-l-14",
        repo="openai/clip-vit-large-patch14",
        file="model.safetensors",
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        sha256="a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
        size=1_710_540_580,
        licence="MIT",
        used_by=("aesthetic",),
    ),
    RemoteFile(
        name="clip-vit-b-32",
        repo="openai/clip-vit-base-patch32",
        file="pytorch_model.bin",
        revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        sha256="a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
        size=605_247_071,
        licence="MIT",
        used_by=("clip_score",),
    ),
    RemoteFile(
        name="aesthetic-head",
        repo="https://raw.githubusercontent.com/christophschuhmann/improved-aesthetic-predictor/main",
        file="sac+logos+ava1-l14-linearMSE.pth",
        revision=None,
        sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
        size=3_714_759,
        licence="Apache-2.0",
        used_by=("aesthetic",),
    ),
    RemoteFile(
        name="hpsv2",
        repo="xswu/HPSv2",
        file="HPS_v2_compressed.pt",
        revision="697403c78157020a1ae59d23f111aa58ced35b0a",
        sha256=None,
        size=None,
        licence="Apache-2.0",
        used_by=("hpsv2",),
    ),
    RemoteFile(
        name="hpsv2.1",
        repo="xswu/HPSv2",
        file="HPS_v2.1_compressed.pt",
        revision="697403c78157020a1ae59d23f111aa58ced35b0a",
        sha256="c57a38fb4a2f7e7c15bf00da2ea377cdf165448b4dd1052a484c215a998c9837",
        size=1_972_490_005,
        licence="Apache-2.0",
        used_by=("hpsv2.1",),
    ),
    RemoteFile(
        name="pickscore",
        repo="yuvalkirstain/PickScore_v1",
        file="model.safetensors",
        revision="a4e4367c6dfa7288a00c550414478f865b875800",
        sha256=None,
        size=None,
        licence="not stated",
        used_by=("pickscore",),
    ),
    RemoteFile(
        name="imagereward",
        repo="THUDM/ImageReward",
        file="ImageReward.pt",
        revision="5736be03b2652728fb87788c9797b0570450ab72",
        sha256=None,
        size=None,
        licence="Apache-2.0",
        used_by=("imagereward",),
    ),
    RemoteFile(
        name="bert-vocabulary",
        repo="google-bert/bert-base-uncased",
        file="vocab.txt",
        revision="86b5e0934494bd15c9632b12f734a8a67f723594",
        sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        size=231_508,
        licence="Apache-2.0",
        used_by=("imagereward",),
    ),
    RemoteFile(
        name="inception",
        repo="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0",
        file="weights-inception-2015-12-05-6726825d.pth",
        revision=None,
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        size=95_628_359,
        licence="Apache-2.0",
        used_by=("FID",),
    ),
    RemoteFile(
        name="alexnet",
        repo="https://download.pytorch.org/models",
        file="alexnet-owt-7be5be79.pth",
        revision=None,
        sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        size=244_408_911,
        licence="BSD-3-Clause",
        used_by=("LPIPS",),
    ),
    RemoteFile(
        name="lpips-alex",
        repo="https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1",
        file="alex.pth",
        revision=None,
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        size=6_009,
        licence="BSD-2-Clause",
        used_by=("LPIPS",),
    ),
    RemoteFile(
        name="dinov2-large",
        repo="facebook/dinov2-large",
        file="model.safetensors",
        revision="47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
        sha256="399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
        size=1_217_522_888,
        licence="Apache-2.0",
        used_by=("DINOv2",),
    ),
)

_BY_NAME = {file.name: file for file in FILES}


def published(name: str) -> RemoteFile:
    """The file of that name. KeyError, with the nearest names, where there is none."""
    if name not in _BY_NAME:
        raise KeyError(f"no published file is called {name!r}; {nearest(name, _BY_NAME)}")
    return _BY_NAME[name]


def needed(sequence: Sequence) -> list[RemoteFile]:
    """What the rewards, probes and measures of a sequence load, in the order of the table; its model's files are not
    among them."""
    wanted = {*sequence.rewards.values(), *sequence.home.figures}
    return [file for file in FILES if sequence.home is REAL and wanted & set(file.used_by)]
