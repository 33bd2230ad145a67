"""Runs the notebook and stores its small outputs in it: `python docs/notebooks/execute.py`, a part of `make readme`."""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).parent / "short-study.ipynb"
TIMEOUT = 600  # seconds of a cell


def executed(folder: Path, sequence: str = "shapes-smoke") -> nbformat.NotebookNode:
    """The notebook after it ran in a folder, with this Python; raises CellExecutionError where a cell fails.

    Args:
        sequence: the sequence to run, which is called shapes-smoke.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = first.source.replace('SEQUENCE, SEEDS = "shapes-smoke"', f'SEQUENCE, SEEDS = "{sequence}"')
    kernel = notebook.metadata.get("kernelspec", {}).get("name", "python3")
    NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name=kernel, resources={"metadata": {"path": str(folder)}}
    ).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.NotebookNode()
        if cell.cell_type == "code":
            # progress and warnings differ from run to run
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
            for output in cell.outputs:
                if image := output.get("data", {}).get("image/png"):
                    output.data["image/png"] = smaller(image)
    notebook.metadata = nbformat.NotebookNode(
        kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"}
    )
    return notebook


def smaller(image: str) -> str:
    """A PNG in base64 with a palette of 64 colours: a fifth of the bytes."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(image))) as pixels:
        pixels.convert("RGB").quantize(64).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def main() -> None:
    """Rewrites the notebook in place."""
    os.environ["PYTHONPATH"] = str(
        Path(__file__).parents[2]
    )  # the kernel imports the package of this checkout
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("MPLBACKEND", None)
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(Path(folder)), NOTEBOOK)


if __name__ == "__main__":
    sys.exit(main())
