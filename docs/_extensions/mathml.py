"""Formulas as MathML, which browsers draw by themselves: nothing is fetched, by the build or by the reader.

Brackets that grow need a font made for formulas: STIX Two Math (SIL Open Font License), carried by the package ziamath.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ziamath
from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


def _convert(latex: str, display: str) -> str:
    try:
        found = str(convert(latex, display=display))
    except Exception as error:  # its errors have no class of their own
        raise ExtensionError(f"mathml: {latex!r} is no formula that latex2mathml knows: {error!r}") from error
    if unknown := re.search(r"<m[io]>(&|\\.*?)</m[io]>", found):  # what it does not know, it writes as it stands
        raise ExtensionError(f"mathml: latex2mathml does not know {unknown[1]!r} in {latex!r}")
    return found


def visit_inline(writer: Any, node: Any) -> None:
    """Write a formula that stands in a line."""
    writer.body.append(_convert(node.astext(), "inline"))
    raise SkipNode


def visit_block(writer: Any, node: Any) -> None:
    """Write a formula that stands by itself; one that is wider than the page scrolls."""
    names = "".join(f' id="{each}"' for each in node["ids"][:1])
    writer.body.append(f'<div class="formula"{names} tabindex="0">{_convert(node.astext(), "block")}</div>\n')
    raise SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under the name that `html_math_renderer` takes."""
    app.config.html_static_path.append(str(Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"))
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
