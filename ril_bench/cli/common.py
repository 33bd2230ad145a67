"""What the verbs share: the app, the consoles, and the options that several take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table

OUT = Path("runs")

app = typer.Typer(
    name="ril-bench",
    help="Reward incremental learning: teach a diffusion model one reward after another, and see what it forgets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out_console, err_console = Console(), Console(stderr=True)

OutOption = Annotated[Path, typer.Option("--out", help="Where runs are kept.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads, pinned; all cores unless told.")]
PresetOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Published settings by name: ril-bench list preset."),
]
ComputeOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--compute", help="How it is computed: dtype=bfloat16, checkpointing=true, ...; repeatable."
    ),
]


def _go_offline(offline: bool) -> bool:
    if offline:
        from ril_bench.remote.network import go_offline

        go_offline()
    return offline


OfflineOption = Annotated[
    bool,
    # acts by itself, before the verb does
    typer.Option("--offline", help="Download nothing, as HF_HUB_OFFLINE=1 says.", callback=_go_offline),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for scripts.")]


def show_run(made: Any) -> None:
    """The matrix and the headline figures of a run."""
    metrics, matrix = made.metrics, made.matrix
    out_console.print(f"\n{made.path}", soft_wrap=True)
    table = Table("step", *matrix.columns)
    for step, row in matrix.iterrows():
        after = metrics["rewards"][step - 1] if step else "pretrained"
        table.add_row(f"{step} {after}", *(f"{value:.4g}" for value in row))
    out_console.print(table)
    normalised = metrics["continual"]["normalised"]
    figures = normalised or metrics["continual"]["z"] or {}
    unit = "" if normalised else " (z)"
    shown = [
        f"{name}{unit} {figures[name]:+.3f}"
        for name in ("FINAL", "LEARN", "BWT", "FORGET")
        if figures.get(name) is not None
    ]
    if figures.get("FORGET") is not None:
        shown[-1] += f" (floor {figures['FORGET_floor']:.3f})"
    structure, fidelity = metrics["structure"]["steps"], metrics["fidelity"]
    if structure:
        shown.append(f"SSIM to step 0 {structure[-1]['ssim_to_0']:.3f}")
    if fidelity["steps"]:
        shown.append(f"FID {fidelity['steps'][-1]['fid']:.2f} (floor {fidelity['floor']:.2f})")
    out_console.print("  ".join(shown))
