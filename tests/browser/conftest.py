"""One JupyterLab and one Chromium for the session; a page for each chapter's tests."""

from __future__ import annotations

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
def page(request, lab, chapter):
    """That notebook, opened once for its module, with only the module's CELLS run: the chapter as a
    whole is nbval's."""
    with lab.open(chapter) as opened:
        opened.run_cells(request.module.CELLS)
        yield opened


@pytest.fixture
def explorer(request, page):
    """The module's EXPLORER, back at its start."""
    found = page.explorer(request.module.EXPLORER)
    found.button("Reset").click()
    found.settle()
    return found
