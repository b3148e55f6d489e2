"""Drawings (SVG), plots (matplotlib) and diagrams of traced networks."""
