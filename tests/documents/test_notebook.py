"""The quick start as a notebook: every cell runs, and shows what its text announces."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from support import REPO

NOTEBOOK = REPO / "docs" / "quick_start.ipynb"


def test_it_is_valid_and_saved_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == [f"cell-{index}" for index in range(len(notebook.cells))]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def text(cell: Any) -> str:
    """Return what a cell printed, and the value of its last line."""
    parts = [output.text for output in cell.outputs if output.output_type == "stream"]
    return "".join(parts + [output.data.get("text/plain", "") for output in cell.outputs if "data" in output])


def images(cell: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)  # Ultralytics asks for them and then writes its runs elsewhere
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (settings,) = (cell for cell in notebook.cells if "settings" in cell.metadata.get("tags", ()))
    assert "EPOCHS = 10 " in settings.source
    settings.source = settings.source.replace("EPOCHS = 10 ", "EPOCHS = 2 ")
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()

    titled = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            title = cell.source.splitlines()[0].lstrip("# ").partition(" / ")[0]
        else:
            titled.setdefault(title, []).append(cell)
    (train,), (look,) = titled["Train on shapes"], titled["Look at predictions"]
    assert 0 <= float(text(train).splitlines()[-1]) <= 1
    assert images(look) == 3
    assert text(titled["A module of your own"][-1]).splitlines()[-3].startswith("Residual(")
    (compared,) = titled["Compare"]
    summary = json.loads((tmp_path / "runs/compare/compare/summary.json").read_text(encoding="utf-8"))
    assert summary["words"][0] in text(compared) and "shape: (4, " in text(compared)
    assert images(titled["Visualize"][0]) == 1
