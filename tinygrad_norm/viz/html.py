"""The interactive page: one file that holds what is drawn, as data, and the viewer that draws it; no network is needed.

Labels are data. They stand in a JSON block that none of them can end early, and the viewer puts them on the page as
text. The page's policy lets no script or style run but the viewer's own, known by their hashes, and allows no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from string import Template

from tinygrad_norm.viz.graph import Graph
from tinygrad_norm.viz.levels import Levels
from tinygrad_norm.viz.style import LOOKS, LOST, RAMP, style_sheet

START = "main.js"
VIEWER = files("tinygrad_norm.viz") / "viewer"
SCRIPTS = sorted(path.name for path in VIEWER.iterdir() if path.name.endswith(".js") and path.name != START)
"""The viewer, one script when joined; the last part starts it."""
ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def page(graph: Graph, direction: str = "forward", depth: int | None = 0, fold: bool = True) -> str:
    """The graph as an HTML page in which modules open and close; the same text for the same graph.

    Args:
        graph: all there is.
        direction, depth, fold: how the page is when it opens, as for `draw_graph`.

    Raises:
        TypeError: that is no graph.
    """
    if not isinstance(graph, Graph):
        raise TypeError(f"html.page: graph is a Graph, as from_call returns it, got {type(graph).__name__}")
    script, style = "\n".join(map(_read, (*SCRIPTS, START))), style_sheet() + _read("viewer.css")
    policy = (
        f"default-src 'none'; script-src {hash_of(script)}; style-src {hash_of(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    levels = Levels(graph, depth)
    data = {name: getattr(levels, name) for name in ("root", "layouts", "definitions")}
    legend = [(kind, look.title) for kind, look in LOOKS.items() if kind != "output"]
    data |= {"title": graph.title, "start": {"direction": direction, "fold": fold}}
    data |= {"legend": legend, "ramp": RAMP, "lost": LOST}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).translate(ESCAPES)
    return Template(_read("page.html")).substitute(policy=policy, style=style, script=script, data=text)


def _read(name: str) -> str:
    return (VIEWER / name).read_text(encoding="utf-8")


def hash_of(text: str) -> str:
    """How a content security policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
