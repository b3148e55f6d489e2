"""Chapter 05."""
CLAIMS = {}
