"""One JupyterLab and one Chromium for the session; a page per test."""
from __future__ import annotations

import pytest

from tests.browser.harness import Lab


@pytest.fixture(scope="session")
def lab():
    """JupyterLab on the course's notebooks: `lab.open("01-convolution-arithmetic.ipynb")`."""
    with Lab() as running:
        yield running
