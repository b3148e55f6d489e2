"""A cell that is run too early says what it needs, in a real kernel."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A kernel whose environment has the course's configuration, and no other user's."""
    place = tmp_path_factory.mktemp("ipython")
    (place / "profile_default").mkdir()
    shutil.copy(ROOT / ".lab/ipython_kernel_config.py", place / "profile_default")
    patch = pytest.MonkeyPatch()
    patch.setenv("IPYTHONDIR", str(place))
    patch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    manager, client = start_new_kernel(kernel_name="python3")
    patch.undo()
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code):
    """(status, everything shown) of a cell."""
    shown = []

    def keep(message):
        content = message["content"]
        shown.append(content.get("text") or " ".join(content.get("traceback", [])))

    reply = client.execute_interactive(code, timeout=120, output_hook=keep)
    return reply["content"]["status"], "\n".join(filter(None, shown))


def test_before_the_first_cell_a_missing_name_sends_there(kernel):
    status, shown = run(kernel, "trace(model)")
    assert status == "error" and "NameError" in shown
    assert "its first code cell has not been run in this kernel" in shown


def test_after_it_a_missing_name_is_named(kernel):
    run(kernel, "lesson = 1")
    status, shown = run(kernel, "guess.reveal(3)")
    assert status == "error" and "If a cell above makes 'guess', run it first" in shown
    assert "first code cell" not in shown


def test_other_errors_are_left_alone(kernel):
    status, shown = run(kernel, "1 / 0")
    assert status == "error" and "ZeroDivisionError" in shown and "Run All Above" not in shown


def test_the_environment_has_the_configuration():
    """Copied by `make` to where IPython looks in every environment."""
    place = Path(sys.prefix, "etc", "ipython", "ipython_kernel_config.py")
    assert place.read_text() == (ROOT / ".lab/ipython_kernel_config.py").read_text()
