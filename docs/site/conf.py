"""Sphinx: the repository's pages and the reference of the Python interface as a site; `make docs` builds it.

The source folder is the repository, so that a link that works in a checkout works on the site.
"""

import re
from typing import Any

import glat

project = "glat"
author = "The glat authors"
version = release = glat.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/site/index"
include_patterns = ["*.md", "docs/*.md", "docs/site/**.md", "bench/results/*.md", "kernels/**/README.md"]

html_theme = "furo"
html_title = "glat"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_extra_path = ["root"]  # leads from the top of the site to its first page

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False


def as_text(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are read as text: names that end in _, as global_, and |x| are no references there."""
    lines[:] = [re.sub(r"(?<=\w)_(?![\w`])", r"\\_", re.sub(r"\|(?=\S)", r"\\|", line)) for line in lines]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_text, priority=900)  # behind napoleon
