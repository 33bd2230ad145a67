"""Exports the model of a step: a diffusers LoRA, and a model card in the format of the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.storage import names
from ril_bench.storage.files import write_files
from ril_bench.storage.read import StoredRun, read_whole_run

WEIGHTS = "pytorch_lora_weights.safetensors"  # where diffusers looks for a LoRA in a folder
WORLD_IMPORT = "from ril_bench.worlds.shapes import WEIGHTS"
OWN_LICENCE = "apache-2.0"  # of the models that ship

CARD = """---
{front}
---

# {title}

A LoRA for `{model}`: the model after step {step} of {steps} of reward incremental learning
([arXiv 2411.17310](https://arxiv.org/abs/2411.17310)), trained with RIL-Bench {version}.

| | |
|---|---|
| sequence | {sequence} version {sequence_version}, order {order}: {rewards} |
| method | {method} |
| tuner | {tuner} |
| seed | {seed} |

Mean rewards over the evaluation's prompts, before any tuning and at this step:

{table}

## Use it

Run this in the folder of this card{requirement}:

```python
{code}
```

{measured}
"""
DIFFUSION = """import torch
from diffusers import DDIMScheduler, DiffusionPipeline
{imports}
pipe = DiffusionPipeline.from_pretrained({model_argument}).to(torch.{dtype})
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
pipe.load_lora_weights(".")
image = pipe({prompt}, num_inference_steps={steps}, guidance_scale={guidance}, eta={eta}{pixels}).images[0]
image.save("image.png")"""
FLOW = """import torch
from diffusers import DiffusionPipeline
{imports}
pipe = DiffusionPipeline.from_pretrained({model_argument}{absent}).to(torch.{dtype})
pipe.load_lora_weights(".")
image = pipe({prompt}, num_inference_steps={steps}, guidance_scale={guidance}{pixels}{length}).images[0]
image.save("image.png")"""
MEASURED = "The rewards were measured with this sampler, {steps} steps, eta {eta} and guidance {guidance}."
WITH_NOISE = (
    "The rewards were measured with {steps} steps and guidance {guidance}, and with noise in each step (eta {eta}), "
    "which diffusers' sampler does not have."
)


def export(run: str | Path, out: str | Path, *, step: int | None = None, licence: str | None = None) -> Path:
    """Writes a step's LoRA and its card into the folder `out`, and returns that.

    Args:
        run: a run's folder, or an entry's.
        step: from 1; by default the last. Step 0 is the base model itself.
        licence: of the weights, by the hub's identifier; by default Apache 2.0 for a model that ships.

    Raises UserError where the folder is there already, or the step has no adapter.
    """
    read, out = read_whole_run(Path(run)), Path(out)
    step = len(read.rewards) if step is None else step
    adapter = read.folder / names.adapter(step)
    if not adapter.is_file():
        have = sorted(path.parent.name for path in read.folder.glob(f"{names.STEPS}/{names.ADAPTER}"))
        raise UserError(
            f"step {step} has no adapter",
            where=str(adapter.parent),
            hint=f"there is one of {', '.join(have)}"
            if have
            else "name the folder of a run with a trained step",
        )
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError("there is such a folder already", where=str(out), hint="name a new one with --out")
    card = model_card(read, step, licence)
    write_files({out / WEIGHTS: adapter.read_bytes(), out / "README.md": card.encode()})
    return out


def model_card(run: StoredRun, step: int, licence: str | None = None) -> str:
    """README.md: the front matter that the hub reads, a description of the weights, and code that uses them."""
    spec, rewards = run.info["sequence"], run.rewards
    model, trained = spec["model"], rewards[:step]
    ships = model in registry.names("model")
    title = f"{run.name} on {run.sequence}, step {step}"
    data = ModelCardData(
        base_model=model.partition("@")[0] if _on_hub(model) else None,
        library_name="diffusers",
        license=licence or (OWN_LICENCE if ships else None),
        pipeline_tag="text-to-image",
        tags=["text-to-image", "lora", "diffusers", "ril-bench", *(f"reward:{name}" for name in trained)],
        model_name=title,
        eval_results=_results(run, step),
    )
    return CARD.format(
        front=data.to_yaml().strip(),
        title=title,
        model=model,
        step=step,
        steps=len(rewards),
        version=(run.info.get("versions") or {}).get("ril-bench", "of unknown version"),
        sequence=run.sequence,
        sequence_version=spec["version"],
        order=run.order,
        rewards=", then ".join(rewards),
        method=run.name,
        tuner=run.tuner,
        seed=run.seed,
        table=_table(run, step),
        requirement=f"; `{model}` ships with the package `ril-bench`" if ships else "",
        code=_code(run),
        measured=(WITH_NOISE if _flow(run) and spec["sampler"]["eta"] else MEASURED).format(
            **spec["sampler"]
        ),
    )


def _code(run: StoredRun) -> str:
    """Python code that generates an image with the LoRA, for a run's kind of model."""
    spec = run.info["sequence"]
    size, absent, length = spec["sampler"].get("size"), "", ""
    if "text_encoder_3" not in _parts(run):
        # Versions of diffusers differ in the number of tokens that stand for a missing T5.
        absent = ", text_encoder_3=None, tokenizer_3=None"
        length = ", max_sequence_length=pipe.tokenizer_max_length"
    return (FLOW if _flow(run) else DIFFUSION).format(
        **spec["sampler"],
        dtype=(run.info.get("hardware") or {}).get("compute", {}).get("dtype", "float32"),
        prompt=json.dumps(next(iter(run.prompts.values()), "a photo")),
        imports=f"{WORLD_IMPORT}\n" if spec["model"] in registry.names("model") else "",
        model_argument=_model_argument(spec["model"]),
        pixels=f", height={size}, width={size}" if size else "",
        absent=absent,
        length=length,
    )


def _flow(run: StoredRun) -> bool:
    """Whether the run's model matches a flow: its denoiser is then a transformer."""
    return "transformer" in _parts(run)


def _parts(run: StoredRun) -> set[str]:
    """The names of the pipeline's parts."""
    return {Path(file).parent.name for file in _weights(run)}


def _weights(run: StoredRun) -> list[str]:
    """The names of the files that the run's scores depend on."""
    return list(run.info.get("weights") or {})


def _on_hub(model: str) -> bool:
    """Whether a sequence's model is one of the hub."""
    return model not in registry.names("model") and not registry.is_path(model)


def _model_argument(model: str) -> str:
    """The arguments with which from_pretrained loads a sequence's model, as Python code."""
    if model in registry.names("model"):
        return f"WEIGHTS / {json.dumps(Path(str(registry.locate('model', model))).name)}"
    repo, _, revision = model.partition("@") if _on_hub(model) else (model, "", "")
    return f"{json.dumps(repo)}, revision={json.dumps(revision)}" if revision else json.dumps(repo)


def _row(run: StoredRun, step: int) -> dict[str, float | None]:
    return dict(zip(run.columns, run.matrix[run.steps.index(step)], strict=True))


def _results(run: StoredRun, step: int) -> list[EvalResult]:
    """The step's row of the reward matrix, as the hub's model index has it."""
    kwargs: dict[str, Any] = {
        "task_type": "text-to-image",
        "dataset_type": "ril-bench",
        "dataset_name": f"RIL-Bench {run.sequence}",
    }
    return [
        EvalResult(metric_type=name, metric_name=f"{name}, mean", metric_value=value, **kwargs)
        for name, value in _row(run, step).items()
        if value is not None
    ]


def _table(run: StoredRun, step: int) -> str:
    before, after = _row(run, 0), _row(run, step)
    units = run.metrics.get("units") or {}
    lines = ["| reward | unit | pretrained | this step |", "|---|---|---:|---:|"]
    for name in run.columns:
        role = (
            "" if name in run.rewards[:step] else " (not trained yet)" if name in run.rewards else " (probe)"
        )
        lines.append(f"| {name}{role} | {units.get(name, '')} | {before[name]:.4g} | {after[name]:.4g} |")
    return "\n".join(lines)
