"""How `make docs` builds these pages: Sphinx, with Markdown through MyST; what is written is readable without it, too.

The pages stay plain Markdown, so the tables of contents are put together here, from the folders.
"""

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

project = "Rayfan"
copyright = "the Rayfan authors, BSD-3-Clause"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {"description": "EPICS soft-detector appliance", "page_width": "72rem", "sidebar_width": "16rem"}
html_title = "Rayfan"
highlight_language = "console"
nitpicky = True

PARTS = (
    ("Tutorials", "tutorial"),
    ("How to", "how-to"),
    ("Explanation", "explanation"),
    ("Reference", "reference"),
    ("Decisions", "decisions"),
)


def contents() -> str:
    """Return the tables of contents of all folders."""
    blocks = []
    for caption, folder in PARTS:
        pages = sorted(path.relative_to(HERE).with_suffix("") for path in (HERE / folder).glob("*.md"))
        lines = ["", "```{toctree}", ":hidden:", f":caption: {caption}", *map(str, pages), "```"]
        blocks.append("\n".join(lines))
    return "\n".join(blocks) + "\n"


def add_contents(_app: Any, page: str, source: list[str]) -> None:
    """Put the tables of contents behind the first page."""
    if page == "index":
        source[0] += contents()


def setup(app: Any) -> None:
    """Take part in the build."""
    app.connect("source-read", add_contents)
