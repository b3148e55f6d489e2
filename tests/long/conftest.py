"""Long tests install or run what `make test` has no time for: only where CNNLAB_LONG asks for them,
as `make test-long` does."""

from __future__ import annotations

import os

collect_ignore_glob = [] if "CNNLAB_LONG" in os.environ else ["test_*.py"]
