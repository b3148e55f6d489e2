"""Whether this Python can build the environment, and where to get one that can.

Every Python must be able to read this file, so that each can be told what is wrong with it.
"""

import platform
import sys

FIRST, LAST = (3, 10), (3, 14)
RANGE = "%d.%d to %d.%d" % (FIRST + LAST)
UV = "curl -LsSf https://astral.sh/uv/install.sh | sh && ~/.local/bin/uv python install 3.13"
GET = {"Darwin": "brew install python@3.13", "Windows": "winget install Python.Python.3.13"}


def problem():
    """Why it cannot, in words that follow the name of this Python; "" where it can."""
    version = "%d.%d" % sys.version_info[:2]
    if not FIRST <= sys.version_info[:2] <= LAST:
        return "is Python %s; the course needs %s" % (version, RANGE)
    if sys.maxsize < 2**32:
        return "is a 32-bit Python; PyTorch needs a 64-bit one"
    if sys.platform == "darwin":
        if platform.machine() == "x86_64":
            return (
                "is made for Intel Macs, which PyTorch left in 2024; the course needs "
                "Apple silicon, and there a Python for arm64"
            )
        if int(platform.mac_ver()[0].split(".")[0]) < 14:
            return "runs on macOS %s; PyTorch needs macOS 14 or later" % platform.mac_ver()[0]
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return "(Python %s) lacks venv; on Debian or Ubuntu: apt install python3-venv" % version
    return ""


def advice():
    """One command that gets a Python which can."""
    return "Get one with this command, then run make again:\n  " + GET.get(platform.system(), UV)


if __name__ == "__main__":
    if sys.argv[1:] == ["advice"]:
        print(advice())
    else:
        sys.exit(problem() or 0)
