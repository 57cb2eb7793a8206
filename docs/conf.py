"""How the site is built: `sphinx-build -W docs docs/_build/html`, in an environment with the extra `docs`."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import tinygrad_norm

HERE = Path(__file__).parent
CODE = HERE / "_code"
sys.path.insert(0, str(HERE / "_extensions"))
PROFILE = HERE / "_build" / "ipython" / "profile_default"  # of the cells, in place of the user's own
PROFILE.mkdir(parents=True, exist_ok=True)
(PROFILE / "ipython_kernel_config.py").write_text('c.IPKernelApp.log_level = "ERROR"\n', encoding="utf-8")
os.environ["IPYTHONDIR"] = str(PROFILE.parent)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CODE), os.environ.get("PYTHONPATH")]))  # of the cells


def _digest() -> str:
    """What the outputs of cells depend on beside the pages: the package, what pictures are drawn with, and figures."""
    digest = hashlib.sha256()
    for folder in (Path(tinygrad_norm.__file__).parent, CODE, HERE / "experiments", HERE / "norms"):
        for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.json")]):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


project = "tinygrad_norm"
author = copyright = "the tinygrad_norm authors"
release = version = tinygrad_norm.__version__
extensions = ["myst_nb", "mathml", "zoo_pages", "notebook_pages", "reference", "norm_reference", "site_links"]
exclude_patterns = ["_build", "_code", "_extensions"]
nitpicky = True
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# A cell that fails, fails the build. Its output is taken from the cache while nothing that it depends on has changed.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "cells" / _digest())
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_merge_streams = True
nb_output_stderr = "remove"  # where it is said that kernels are being compiled
nb_mime_priority_overrides = [("html", "image/svg+xml", 1)]
suppress_warnings = ["mystnb.unknown_mime_type"]  # a drawing is offered as Mermaid too

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "tinygrad_norm"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_nav_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-light",
    "pygments_dark_style": "a11y-dark",
}


def _unlink_what_is_outside(_app: Any, _page: str, source: list[str]) -> None:
    """Leave of links to the Markdown files beside this folder, which are no pages, their text."""
    source[0] = re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?:README|CONTRIBUTING)\.md[^)]*\)", r"\1", source[0])


def setup(app: Any) -> None:
    """Read every page anew when what its cells depend on has changed."""
    app.add_config_value("cells_depend_on", _digest(), "env")
    app.connect("source-read", _unlink_what_is_outside)
