"""The name of every file and folder that RIL-Bench writes into a run's folder."""

from __future__ import annotations

RUN = "run.json"
SCORES = "scores.parquet"
MATRIX = "matrix.csv"
METRICS = "metrics.json"
PROMPTS = "prompts.json"
LOG = "log.jsonl"
ANYTIME = "anytime.parquet"
PAGE = "report.html"
LOCK = ".lock"

#: inside the folder of a step
ADAPTER = "adapter.safetensors"
IMAGES = "images"
#: images of a second latent seed: the noise floor of FID
FID_REFERENCE = "fid-reference"

CHECKPOINTS = "checkpoint"


def step(i: int) -> str:
    """The folder of step i; step 0 is the pretrained model."""
    return f"step-{i}"


def checkpoint(name: str) -> str:
    """The file of the checkpoint `name`, "start" or "latest"."""
    return f"{CHECKPOINTS}/{name}.safetensors"


def image(prompt_id: str, sample: int) -> str:
    """The file of one image in the folder of its set."""
    return f"{prompt_id}-{sample}.png"
