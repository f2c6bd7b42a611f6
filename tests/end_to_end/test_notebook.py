"""The notebook that the README links to runs as it is, and ends with a plot and a frame."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "utility_against_leak.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(folder)}}
    ).execute()
    return folder, [cell for cell in notebook.cells if cell.cell_type == "code"]


def last(cell):
    """What the cell shows of its last value, by MIME type."""
    return [o.data for o in cell.outputs if o.output_type in ("execute_result", "display_data")][-1]


def test_the_run_shows_its_board(executed):
    folder, (ran, _, _) = executed
    assert (folder / "runs" / "notebook" / "site" / "index.html").is_file()
    board = last(ran)["text/html"]
    assert "k_same(k=2)" in board and "noise" in board and "nearest_distance" in board


def test_utility_is_plotted_against_leak(executed):
    _, (_, plotted, _) = executed
    assert len(plotted.source.splitlines()) <= 10
    assert len(last(plotted)["image/png"]) > 5_000


def test_scores_of_members_are_told_from_the_others(executed):
    _, (_, _, scored) = executed
    described = last(scored)["text/plain"]
    assert "False" in described and "True" in described and "mean" in described
