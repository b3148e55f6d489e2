"""Chapter 08: its exercises are sound, its explorer counts right, its claims have their cells."""
CLAIMS = {}
