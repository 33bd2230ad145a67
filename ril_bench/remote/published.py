"""The table of all published files that RIL-Bench may need. No torch.

Digests and revisions come from public records of these files. A value that no record states is None; none is guessed.
"""

from __future__ import annotations

from ril_bench.errors import nearest
from ril_bench.remote.file import RemoteFile

FILES = (
    # -- rewards -----
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
    # -- feature networks -----
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
    # -- prompts -----
    RemoteFile(
        name="animals",
        repo="https://raw.githubusercontent.com/mihirp1998/AlignProp",
        file="assets/simple_animals.txt",
        revision="185d154bc1ec25260846a2cb040841377c706d6a",
        sha256="ee3d9b638ce2a40e896a34319af85709d3c1c3188da0b8feda739dcb7363188d",
        size=269,
        licence="MIT",
        used_by=("animals",),
    ),
    RemoteFile(
        name="animals-eval",
        repo="https://raw.githubusercontent.com/mihirp1998/AlignProp",
        file="assets/eval_simple_animals.txt",
        revision="185d154bc1ec25260846a2cb040841377c706d6a",
        sha256="98a6bac4b2a867a66ca46e8b1786ab321887ea46e05295a88ee1890c60280020",
        size=53,
        licence="MIT",
        used_by=("animals/eval",),
    ),
    RemoteFile(
        name="hpdv2-train",
        repo="https://raw.githubusercontent.com/mihirp1998/AlignProp",
        file="assets/hps_v2_all.txt",
        revision="185d154bc1ec25260846a2cb040841377c706d6a",
        sha256="52f0074b2d5fe70a8ffd0ca8daf7b5ad420c9a930f03c38a97e7f2d8aa5df429",
        size=39463,
        licence="MIT",
        used_by=("hpdv2/train",),
    ),
    RemoteFile(
        name="hpdv2-eval",
        repo="https://raw.githubusercontent.com/mihirp1998/AlignProp",
        file="assets/hps_v2_all_eval.txt",
        revision="185d154bc1ec25260846a2cb040841377c706d6a",
        sha256="1af515e74b71687531d6a4e83489b10c7214a8d5c4da04621c45bf76fe739049",
        size=2741,
        licence="MIT",
        used_by=("hpdv2/eval",),
    ),
    RemoteFile(
        name="hpdv2-anime",
        repo="datasets/zhwang/HPDv2",
        file="benchmark/anime.json",
        revision="b9517430f34b1080d4f741118d2a440155a165cd",
        sha256="6b38a479cc6f899866e9b7a8bf91f096b4afc6883b95275a61891327182b14ae",
        size=62816,
        licence="Apache-2.0",
        used_by=("hpdv2", "hpdv2/anime"),
    ),
    RemoteFile(
        name="hpdv2-concept-art",
        repo="datasets/zhwang/HPDv2",
        file="benchmark/concept-art.json",
        revision="b9517430f34b1080d4f741118d2a440155a165cd",
        sha256="530d057deafcb82c581e9d1be2ffcb98828fe99f0b54257414d2ab8a5cf2b83e",
        size=85787,
        licence="Apache-2.0",
        used_by=("hpdv2", "hpdv2/concept-art"),
    ),
    RemoteFile(
        name="hpdv2-paintings",
        repo="datasets/zhwang/HPDv2",
        file="benchmark/paintings.json",
        revision="b9517430f34b1080d4f741118d2a440155a165cd",
        sha256="6570d39467e08b24b64e5b8a4177b0f61c525631121dc5a91fe2ab956eab4d5f",
        size=81338,
        licence="Apache-2.0",
        used_by=("hpdv2", "hpdv2/paintings"),
    ),
    RemoteFile(
        name="hpdv2-photo",
        repo="datasets/zhwang/HPDv2",
        file="benchmark/photo.json",
        revision="b9517430f34b1080d4f741118d2a440155a165cd",
        sha256="92a3c9a0f743f66eb87bd112cdda830d6bdb4c073c86021d53b74001fcb18052",
        size=44606,
        licence="Apache-2.0",
        used_by=("hpdv2", "hpdv2/photo"),
    ),
    RemoteFile(
        name="partiprompts",
        repo="https://raw.githubusercontent.com/google-research/parti",
        file="PartiPrompts.tsv",
        revision="2c99f6652cbc7f0d0441aa91f4c7e7055bcb0071",
        sha256=None,
        size=None,
        licence="Apache-2.0",
        used_by=("partiprompts",),
    ),
)


def _of_model(
    repo: str, revision: str, licence: str, files: dict[str, tuple[int, str]]
) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(
            name=f"{file.partition('/')[0]} of {repo}",
            repo=repo,
            file=file,
            revision=revision,
            sha256=sha256,
            size=size,
            licence=licence,
            used_by=("model",),
        )
        for file, (size, sha256) in files.items()
    )


#: The weights of models, by repository. Several public records agree on each revision, size and digest, except the
#: digest of SDXL's denoiser, which two lists of one author state. A file with another digest is refused.
MODELS: dict[str, tuple[RemoteFile, ...]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": _of_model(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        "CreativeML Open RAIL-M",
        {
            "unet/diffusion_pytorch_model.safetensors": (
                3_438_167_540,
                "19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1",
            ),
            "vae/diffusion_pytorch_model.safetensors": (
                334_643_276,
                "a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c",
            ),
            "text_encoder/model.safetensors": (
                492_265_874,
                "d008943c017f0092921106440254dbbe00b6a285f7883ec8ba160c3faad88334",
            ),
        },
    ),
    "stabilityai/stable-diffusion-xl-base-1.0": _of_model(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "462165984030d82259a11f4367a4eed129e94a7b",
        "CreativeML Open RAIL++-M",
        {
            "unet/diffusion_pytorch_model.safetensors": (
                10_270_077_736,
                "357650fbfb3c7b4d94c1f5fd7664da819ad1ff5a839430484b4ec422d03f710a",
            ),
            "vae/diffusion_pytorch_model.safetensors": (
                334_643_268,
                "1598f3d24932bcfe6634e8b618ea1e30ab1d57f5aad13a6d2de446d2199f2341",
            ),
            "text_encoder/model.safetensors": (
                492_265_168,
                "5c3d6454dd2d23414b56aa1b5858a72487a656937847b6fea8d0606d7a42cdbc",
            ),
            "text_encoder_2/model.safetensors": (
                2_778_702_264,
                "3a6032f63d37ae02bbc74ccd6a27440578cd71701f96532229d0154f55a8d3ff",
            ),
        },
    ),
}

#: the licences of models whose files have no known digest, by repository
LICENCES = {
    "stabilityai/stable-diffusion-3.5-medium": "Stability AI Community License; gated: accept it on the model's page, "
    "then type: hf auth login",
}

_BY_NAME = {file.name: file for file in FILES}


def published(name: str) -> RemoteFile:
    """The file of that name. Raises KeyError with the nearest names if there is none."""
    if name not in _BY_NAME:
        raise KeyError(f"no published file is called {name!r}; {nearest(name, _BY_NAME)}")
    return _BY_NAME[name]


def used_by(*users: str) -> list[RemoteFile]:
    """The files that these rewards, networks or prompt sets need, in the order of the table."""
    return [file for file in FILES if set(users) & set(file.used_by)]
