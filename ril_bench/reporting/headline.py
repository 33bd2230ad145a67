"""The six metrics at the top of a run's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ril_bench.reporting import text
from ril_bench.reporting.settings import fid_convention
from ril_bench.storage.read import StoredRun, dig
from ril_bench.storage.run_files import number

_UNIT = {
    "z": "in standard deviations of the pretrained model's scores over prompts: 0 is the pretrained model.",
    "normalised": "on a scale where 0 is the pretrained model and 1 is a model tuned on that reward alone.",
}


@dataclass(frozen=True)
class Headline:
    """A metric in large print. `note` is its floor or a caution, printed beside the value."""

    name: str
    value: str
    note: str
    meaning: str


def headline(run: StoredRun, scale: str | None) -> list[Headline]:
    """FINAL, LEARN, BWT, FORGET, SSIM and FID or KID, each with one plain sentence of what it means."""
    return [
        Headline(
            "FINAL",
            text.fixed(run.continual(scale, "FINAL")),
            "",
            f"Mean reward of the last model, {_UNIT[scale or 'normalised']}",
        ),
        Headline(
            "LEARN",
            text.fixed(run.continual(scale, "LEARN")),
            "",
            "How far each task raised its own reward while that task was trained.",
        ),
        Headline(
            "BWT",
            text.fixed(run.continual(scale, "BWT")),
            "",
            "What later tasks did to rewards learned earlier: below 0 is forgetting, above 0 is a gain.",
        ),
        Headline(
            "FORGET",
            text.fixed(run.continual(scale, "FORGET")),
            f"floor {text.fixed(run.continual(scale, 'FORGET_floor'))}",
            "How far rewards fell from the best value after they were learned. The floor is the value that noise "
            "alone gives.",
        ),
        _ssim(run),
        _fidelity(run),
    ]


def floor_note(run: StoredRun, *keys: str) -> str:
    """ "floor 0.21", or nothing where the floor is not known."""
    floor = number(dig(run.metrics, *keys))
    return "" if floor is None else f"floor {text.short(floor)}"


def _ssim(run: StoredRun) -> Headline:
    step, value = _last(run.per_step("structure", "ssim_to_0"))
    floor = floor_note(run, "structure", "floor", "ssim")
    notes = [f"step {step}"] * (step is not None) + [floor] * bool(floor)
    meaning = "How much of the structure of the pretrained model's images is left, same prompts and latents: 1 is all"
    meaning += "; two unrelated images of one prompt read as the floor." if floor else "."
    return Headline("SSIM to step 0", text.fixed(value), ", ".join(notes), meaning)


def _fidelity(run: StoredRun) -> Headline:
    """FID, or KID where there are too few images to read FID by itself."""
    biased = bool(dig(run.metrics, "fidelity", "biased"))
    kid_leads = biased and _last(run.per_step("fidelity", "kid"))[1] is not None
    name, key, floor = ("KID", "kid", "kid_floor") if kid_leads else ("FID", "fid", "floor")
    step, value = _last(run.per_step("fidelity", key))
    notes = [f"step {step}"] if step is not None else []
    notes.append(f"floor {text.short(dig(run.metrics, 'fidelity', floor))}")
    if kid_leads:
        notes.append(f"FID {text.short(_last(run.per_step('fidelity', 'fid'))[1])}, biased")
    elif biased:
        notes.append("biased")
    meaning = (
        "How far the images as a whole moved from the pretrained model's. Two sets of the pretrained model's own "
        "images lie the floor apart."
    )
    if convention := fid_convention(run):
        meaning += f" Computed from {convention}."
    return Headline(f"{name} to step 0", text.short(value), ", ".join(notes), meaning)


def _last(points: Sequence[tuple[int, float | None]]) -> tuple[int | None, float | None]:
    return points[-1] if points else (None, None)
