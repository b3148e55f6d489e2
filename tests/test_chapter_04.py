"""Chapter 04: its exercises are sound, its explorer counts right, its claims have their cells."""
from __future__ import annotations

CLAIMS: dict[str, tuple[str, str]] = {}
