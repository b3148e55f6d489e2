"""Pages exported by nbconvert say what their pictures show.

nbconvert 7's default page has no place for a picture's alt text, which our outputs carry in their
metadata: it writes "No description has been provided". This preprocessor writes the picture as HTML
with its text. `make` copies `.lab/jupyter_nbconvert_config.json`, which names it, into the
environment; JupyterLab's own export goes the same way.
"""

from __future__ import annotations

from html import escape

from nbconvert.preprocessors import Preprocessor


class AltTexts(Preprocessor):
    """Every picture with an alt text becomes HTML: an SVG as it is, which carries its label, a PNG
    as an image."""

    def preprocess_cell(self, cell, resources, index):
        """The cell with its pictures rewritten; called by nbconvert."""
        for output in cell.get("outputs", []):
            data, about = output.get("data", {}), output.get("metadata", {})
            if "image/svg+xml" in data:
                data["text/html"] = data["image/svg+xml"]
            elif "image/png" in data and about.get("image/png", {}).get("alt"):
                size = about["image/png"]
                wide = f' width="{size["width"]}"' if "width" in size else ""
                data["text/html"] = (
                    f'<img src="data:image/png;base64,{data["image/png"].strip()}"{wide} '
                    f'style="max-width:100%;height:auto" alt="{escape(size["alt"])}">'
                )
        return cell, resources
