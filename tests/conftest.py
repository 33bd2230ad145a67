"""What several rooms of the tests share: a Stable Diffusion pipeline of random weights, tiny."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from hypothesis import settings
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ril_bench import workers
from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.grids import run as grids
from ril_bench.progress import Reporter
from ril_bench.remote import FOLDER
from ril_bench.runner import Runner
from ril_bench.workers import Cell, Failure
from tests.tiny import PROMPTS, sequence_data, write_sequence

# How long an example takes is the machine's affair; what is timed is in tests/benchmarks.
settings.register_profile("ril-bench", deadline=None)
settings.load_profile("ril-bench")

WORDS = [
    "a",
    "small",
    "large",
    "red",
    "blue",
    "green",
    "circle",
    "square",
    "star",
    "on",
    "above",
    "background",
]


def tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer with whole words for a vocabulary: each word's merges lead to it from its letters."""
    merges = []
    vocab = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        for piece in pieces:
            vocab.setdefault(piece, len(vocab))
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            vocab.setdefault(pieces[0], len(vocab))
    return CLIPTokenizer(vocab, list(dict.fromkeys(merges)), model_max_length=16)


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, in diffusers' format, of a random-weight pipeline: 64-pixel images, (4, 16, 16) latents."""
    folder = tmp_path_factory.mktemp("tiny-pipeline")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = tokenizer(folder)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=16,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=4,
        )
        vae = AutoencoderKL(
            sample_size=64,
            block_out_channels=(4, 4, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            layers_per_block=1,
            norm_num_groups=2,
            latent_channels=4,
        )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=words,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def loaded_pipeline(tiny_pipeline: Path) -> StableDiffusionPipeline:
    """`tiny_pipeline` in memory, to be copied."""
    return StableDiffusionPipeline.from_pretrained(tiny_pipeline, safety_checker=None)


@pytest.fixture
def tiny_model(loaded_pipeline: StableDiffusionPipeline) -> DiffusionModel:
    """That pipeline as a DiffusionModel, without an adapter yet; new for each test."""
    spec = AdapterSpec(rank=2, alpha=3.0, targets=("to_q", "to_k", "to_v", "to_out.0"))
    return DiffusionModel(copy.deepcopy(loaded_pipeline), adapter=spec)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, shared by them, and no network: whatever lies on the machine, they see the same."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RIL_BENCH_CACHE", str(folder))
        patch.delenv(FOLDER, raising=False)
        for name, value in (("HF_HUB_OFFLINE", True), ("HF_HUB_CACHE", str(folder / "hub"))):
            patch.setattr(hub, name, value)
            patch.setenv(name, str(value))  # for processes that the tests start
        yield folder


@pytest.fixture(scope="session")
def tiny_data(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A sequence of two tasks on `tiny_pipeline`, as a YAML file would hold it; see tests/tiny.py."""
    prompts = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    return sequence_data(tiny_pipeline, prompts)


@pytest.fixture(scope="session")
def tiny_sequence(tiny_data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of that sequence."""
    return write_sequence(tmp_path_factory.mktemp("sequence") / "tiny.yaml", tiny_data)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that would go side by side go one after the other, with one thread, and no process has to start."""

    def serially(cells: Sequence[Cell], out: Path, **_: Any) -> Iterator[tuple[Cell, Failure | None]]:
        for cell in cells:
            reporter = Reporter(quiet=True)
            Runner(cell.plan, out, threads=1, shared=cell.shared, account=False, reporter=reporter).execute()
            yield cell, None

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    for module in (workers, grids):
        monkeypatch.setattr(module, "side_by_side", serially)
