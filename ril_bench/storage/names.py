"""The names of all files and folders that RIL-Bench writes into a run's folder or an entry."""

from __future__ import annotations

RUN = "run.json"
SCORES = "scores.parquet"
MATRIX = "matrix.csv"
METRICS = "metrics.json"
PROMPTS = "prompts.json"
LOG = "log.jsonl"
#: in the log, in place of a reward's name: an update without a reward
CONSOLIDATION = "consolidation"
#: scores between two updates of a task, if the sequence has evaluation.every
ANYTIME = "anytime.parquet"
PAGE = "report.html"
LOCK = ".lock"
#: names the process that holds the lock
LOCK_HOLDER = ".lock-holder"

#: only in an entry of a leaderboard
CONTACT_SHEET = "contact.webp"
METHOD_CARD = "method.yaml"
#: the method's own file, beside method.yaml; a method that ships has none
METHOD_FILE = "method.py"
#: in an entry, and in the cache: {file: SHA-256}
DIGESTS = "digests.json"

#: inside the folder of a step
ADAPTER = "adapter.safetensors"
IMAGES = "images"
#: the drift of each rollout on which it is measured: from step 0, and from the step before
DRIFT = "drift.parquet"
TO_0, TO_PREVIOUS = "to_0", "to_previous"
#: scores of the step's adapter at the scales between 0 and 1, if the sequence has evaluation.scales
SCALES = "scales.parquet"
#: images from a second latent seed, for the noise floor of FID
FID_REFERENCE = "fid-reference"

CHECKPOINTS = "checkpoint"
STEP_PREFIX = "step-"
#: a glob that matches the folders of all steps
STEPS = f"{STEP_PREFIX}*"
#: a glob that matches the drift of all steps
DRIFTS = f"{STEPS}/{DRIFT}"
#: a glob that matches the scores at scales of all steps
SCALES_OF_STEPS = f"{STEPS}/{SCALES}"


def step(i: int) -> str:
    """The folder of step i; step 0 is the pretrained model."""
    return f"{STEP_PREFIX}{i}"


def step_number(folder: str) -> int | None:
    """The reverse of `step`; None for a name that is not a step's."""
    number = folder.removeprefix(STEP_PREFIX)
    return int(number) if folder != number and number.isdecimal() else None


def in_step(i: int, name: str) -> str:
    """The path of a file of step i, relative to the run's folder."""
    return f"{step(i)}/{name}"


def adapter(i: int) -> str:
    """The LoRA of step i, relative to the run's folder."""
    return in_step(i, ADAPTER)


def scores_after(update: int) -> str:
    """The scores after an update that does not end its task, in the folder of the task's step."""
    return f"update-{update:06d}.parquet"


def update_number(name: str) -> int | None:
    """The reverse of `scores_after`; None for another name."""
    number = name.removeprefix("update-").removesuffix(".parquet")
    return int(number) if number.isdecimal() and name == scores_after(int(number)) else None


#: a glob that matches what `scores_after` names
SCORES_AFTER = "update-*.parquet"


def checkpoint(name: str) -> str:
    """The file of the checkpoint `name` ("start" or "latest"), relative to the run's folder."""
    return f"{CHECKPOINTS}/{name}.pt"


def image(prompt_id: str, sample: int) -> str:
    """The file of one image in the folder of its set."""
    return f"{prompt_id}-{sample}.png"


def image_key(stem: str) -> tuple[str, int] | None:
    """(prompt_id, sample) of an image file's stem; None for a stem of another form."""
    prompt_id, _, sample = stem.rpartition("-")
    return (prompt_id, int(sample)) if prompt_id and sample.isdecimal() else None


def soft_lock(lock: str) -> str:
    """The file of the soft lock that replaces the lock `lock`."""
    return f"{lock}-soft"


def temporary(name: str, unique: str | int) -> str:
    """The name under which a file is written before it replaces `name`."""
    return f".{name}.{unique}.tmp"


#: a glob that matches what `temporary` names
TEMPORARIES = ".*.tmp"
