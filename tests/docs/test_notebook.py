"""The notebook of the documentation runs, and its outputs have the stored kinds."""

from __future__ import annotations

import nbformat
import pytest
import yaml

from ril_bench import registry
from tests.docs.pages import ROOT, script


@pytest.mark.slow
def test_it_runs_and_has_the_stored_kinds_of_outputs(tmp_path, monkeypatch):
    execute = script("notebooks/execute.py")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    smoke = yaml.safe_load((registry.shipped("tasks") / "shapes-smoke.yaml").read_text())
    smoke |= {"sampler": {"steps": 2, "guidance": 1.0, "eta": 1.0}, "units": {"images": 4}}
    (tmp_path / "shapes-smoke.yaml").write_text(yaml.safe_dump(smoke, sort_keys=False))
    done = execute.executed(tmp_path, "./shapes-smoke.yaml")
    stored = nbformat.read(execute.NOTEBOOK, as_version=4)
    assert [kinds(cell) for cell in done.cells] == [kinds(cell) for cell in stored.cells]
    assert (tmp_path / "site" / "index.html").is_file()


def kinds(cell: nbformat.NotebookNode) -> list[list[str]]:
    """The kinds of data that a cell shows, such as text and an image."""
    return [sorted(output.get("data", {})) for output in cell.get("outputs", [])]
