"""docs/explore.ipynb: it runs on the sample data and draws a chart of each feed, and is committed without outputs."""

from __future__ import annotations

import base64
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.font_manager  # the first import looks for fonts, and says so: better here than in a cell
import nbformat
import pytest

from conftest import ROOT, Database

pytestmark = pytest.mark.feeds("courses", "market", "shop", "tickets")
NOTEBOOK = ROOT / "docs" / "explore.ipynb"
CHARTS = {"tickets", "market", "courses", "shop"}
assert matplotlib.font_manager.fontManager


def load() -> nbformat.NotebookNode:
    """Return the notebook as it is committed."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def execute(database: Database, directory: Path) -> nbformat.NotebookNode:
    """Run a copy of the notebook that lies outside the project on a database; return it with its outputs.

    nbclient has a process of its own, because it leaves sockets open.
    """
    copy = shutil.copy(NOTEBOOK, directory)
    own = {name: str(directory) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    own["MPLBACKEND"] = ""  # Streamlit, which other tests run, sets it for its whole process
    program = "from nbclient.cli import main; main()"  # `jupyter execute`, in this Python
    done = database.run(sys.executable, "-c", program, "--inplace", "--kernel_name=python3", copy, env=own)
    assert done.returncode == 0, done.stderr
    return nbformat.read(copy, as_version=4)


def charts(notebook: nbformat.NotebookNode) -> dict[str, bytes]:
    """Return the image that each cell drew; nothing else may have been put out."""
    images = {}
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type == "display_data", (cell.id, output)
            assert cell.id not in images
            images[cell.id] = base64.b64decode(output.data["image/png"])
    return images


def test_it_draws_a_chart_of_each_feed(
    new_database: Callable[[Database], Database], sample: Database, scratch: Path
) -> None:
    database = new_database(sample)
    full = charts(execute(database, scratch))
    assert set(full) == CHARTS

    marts = database.query("select tablename from pg_tables where schemaname = 'marts'")
    database.query(f"truncate {', '.join(f'marts.{name}' for (name,) in marts)}")
    empty = charts(execute(database, scratch))
    assert set(empty) == CHARTS, "a feed without rows has a chart that says so"
    assert all(empty[name] != full[name] for name in CHARTS)


def test_it_is_committed_without_outputs() -> None:
    assert {cell.id for cell in code_cells(load())} == CHARTS | {"connection"}
    for cell in code_cells(load()):
        assert cell.outputs == [], f"clear the outputs of {cell.id} before you commit it"
        assert cell.execution_count is None, cell.id
        assert cell.metadata == {}, cell.id


def test_each_chart_is_one_select_on_marts() -> None:
    for cell in code_cells(load()):
        if cell.id in CHARTS:
            assert cell.source.count("select(") == 1, cell.id
            read = re.findall(r"\b(?:from|join) ([a-z_.]+)", cell.source)
            assert any(table.startswith("marts.") for table in read), cell.id
            assert not re.search(r"\b(raw|staging|intermediate)\.", cell.source), cell.id
