"""The site: Sphinx with furo and MyST. `make docs` builds it with warnings as errors."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import gallery  # noqa: E402
import generate  # noqa: E402

import unspan  # noqa: E402

project = "unspan"
author = project_copyright = "the unspan contributors"
version = release = unspan.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "generated/first-picture.md"]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = f"unspan {version}"
html_theme_options = {"source_repository": "https://github.com/unspan/unspan/"}
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
suppress_warnings = ["misc.highlighting_failure"]
linkcheck_ignore = [r"https://github\.com/unspan/.*"]

generate.write(HERE / "generated")
gallery.write(HERE / "generated" / "gallery")
