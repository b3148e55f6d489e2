"""Chapter 09."""
CLAIMS = {}
