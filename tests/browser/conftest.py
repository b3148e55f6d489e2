"""One JupyterLab and one Chromium for the session; a page for each chapter's tests."""

from __future__ import annotations

import nbformat
import pytest

from tests.browser.harness import NOTEBOOKS, Lab


@pytest.fixture(scope="session")
def lab():
    """JupyterLab on the course's notebooks: `lab.open("01-convolution-arithmetic.ipynb")`."""
    with Lab() as running:
        yield running


@pytest.fixture(scope="module")
def chapter(request):
    """The notebook of the test's module: 05-*.ipynb for test_chapter_05."""
    (notebook,) = NOTEBOOKS.glob(f"{request.module.__name__[-2:]}-*.ipynb")
    return notebook


@pytest.fixture(scope="module")
def page(request, lab, chapter, tmp_path_factory):
    """The module's CELLS of that notebook, opened once and run: the chapter as a whole is nbval's,
    and to draw it takes longer than all that is pressed here."""
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.id in request.module.CELLS]
    file = tmp_path_factory.mktemp("chapter") / chapter.name
    nbformat.write(notebook, file)
    with lab.open(file) as opened:
        opened.run_cells(request.module.CELLS)
        yield opened


@pytest.fixture
def explorer(request, page):
    """The module's EXPLORER, back at its start."""
    found = page.explorer(request.module.EXPLORER)
    found.button("Reset").click()
    found.settle()
    return found
