"""Models of the Hugging Face hub: which files one is made of, and where they lie on this machine. No torch.

A model is named owner/name, or owner/name@revision: pin the revision where results are to be compared. Its folder is
looked for in $RIL_BENCH_WEIGHTS/owner/name first, then in the hub's cache, and only then downloaded.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ril_bench import registry
from ril_bench.errors import InfrastructureError, UserError
from ril_bench.remote.file import FOLDER, RemoteFile, digest
from ril_bench.remote.weights import digests

#: what a pipeline is loaded from: safetensors in full precision, and no checker of images
FILES = (
    "model_index.json",
    "scheduler/*.json",
    "tokenizer*/*",
    *(f"{part}/config.json" for part in ("text_encoder*", "unet", "vae")),
    *(
        f"{weights}{end}"
        for weights in ("text_encoder*/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")
        for end in (".safetensors", ".safetensors.index.json", "-*-of-*.safetensors")
    ),
)

NOT_LOADED = ("safety_checker", "feature_extractor", "image_encoder")


def _weights(
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


# Revisions, sizes and digests as public records of these repositories state them; several agree on each but the digest
# of SDXL's denoiser, which two lists of one author give. Whatever they are, a file that differs is refused.
PINNED: dict[str, tuple[RemoteFile, ...]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": _weights(
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
    "stabilityai/stable-diffusion-xl-base-1.0": _weights(
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


def repository(reference: str) -> tuple[str, str | None] | None:
    """The repository and revision that a model's reference names, or None where it names a folder."""
    place = registry.locate("model", reference)
    if isinstance(place, Path):
        return None
    repo, _, revision = str(place).partition("@")
    return repo, revision or None


def pinned_files(reference: str) -> tuple[RemoteFile, ...]:
    """The weights of a model whose revision is known here; empty for any other."""
    repo, revision = repository(reference) or ("", None)
    return tuple(file for file in PINNED.get(repo, ()) if file.revision == revision)


def local_folder(reference: str) -> Path | None:
    """Where a model lies on this machine, None if it does not: nothing is downloaded or loaded."""
    found = repository(reference)
    if found is None:
        return Path(str(registry.locate("model", reference)))
    repo, revision = found
    if (own := os.environ.get(FOLDER)) and (folder := Path(own).expanduser() / repo).is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(repo, "model_index.json", revision=revision)
    return Path(index).parent if isinstance(index, str) and _whole(Path(index).parent) else None


def model_folder(reference: str) -> Path:
    """The folder of a model, downloaded if it must be; the digests of pinned files are checked.

    Raises:
        UserError: it is not here and must not be downloaded (HF_HUB_OFFLINE=1), is not on the hub, or is not the file
            that it should be.
        InfrastructureError: the download failed.
    """
    folder = local_folder(reference) or _downloaded(reference)
    for file in pinned_files(reference):
        path = folder / file.file
        if not path.is_file() or digest(path) != file.sha256:
            found = f"its digest is {digest(path)[:12]}..." if path.is_file() else "there is no such file"
            raise UserError(
                f"this is not the {file.name}: {found}, not {str(file.sha256)[:12]}...",
                where=str(path),
                hint=f"delete it; the file is to be had at {file.url}",
            )
    return folder


def model_digests(reference: str, folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of every file that a model is loaded from, by its path."""
    found = repository(reference)
    if found is None:
        return digests(folder)
    files = sorted({path for pattern in FILES for path in folder.glob(pattern) if path.is_file()})
    return {f"{found[0]}/{path.relative_to(folder).as_posix()}": digest(path) for path in files}


def _whole(folder: Path) -> bool:
    """Whether a pipeline's folder holds all that its index names; an interrupted download does not."""
    index = json.loads((folder / "model_index.json").read_bytes())
    parts = [
        part for part, kind in index.items() if isinstance(kind, list) and kind[0] and part not in NOT_LOADED
    ]
    return all(
        any((folder / part).glob("*.safetensors" if (folder / part / "config.json").is_file() else "*.json"))
        for part in parts
    )


def _downloaded(reference: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    repo, revision = repository(reference) or ("", None)
    by_hand = f"or put its folder into another as {repo} and name that one in ${FOLDER}"
    if is_offline_mode():
        raise UserError(
            f"the model {reference} is not on this machine, and downloads are off",
            where="model",
            hint=f"go online once, {by_hand}",
        )
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(
            f"the hub has no model {reference} for you: {error}",
            where="model",
            hint="check its name and revision; a gated one wants `hf auth login`",
        ) from error
    except OSError as error:  # the errors of the hub, of sockets and of disks are all OSErrors
        raise InfrastructureError(
            f"the model {reference} could not be downloaded: {error}",
            where=f"https://huggingface.co/{repo}",
            hint=f"check the connection, {by_hand}",
        ) from error
