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


@pytest.fixture
def page(lab, chapter):
    """That notebook, opened and not run, with a kernel of its own."""
    with lab.open(chapter) as opened:
        yield opened
