"""`draw_graph`: the computation of a model or of a tensor as a picture, a text or a page."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from tinygrad_norm.checks import check_choice, check_integer
from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.files import check_writable, write_atomically
from tinygrad_norm.nn.module import Module
from tinygrad_norm.plan.captured import Captured
from tinygrad_norm.plan.plan import Plan
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.viz import render
from tinygrad_norm.viz.dot import WAYS, dot
from tinygrad_norm.viz.facts import SHOWN
from tinygrad_norm.viz.formats import line, scaled, seconds, size
from tinygrad_norm.viz.graph import Graph, from_call, from_tensor, total_flops
from tinygrad_norm.viz.html import page
from tinygrad_norm.viz.mermaid import mermaid
from tinygrad_norm.viz.outline import Outline, outline
from tinygrad_norm.viz.plan_graph import from_plan
from tinygrad_norm.viz.style import dark_rules

TEXTS = {".dot": "dot", ".mmd": "mermaid", ".html": "html"}
SUFFIXES = (*(f".{kind}" for kind in render.RENDERED), *TEXTS)
FAILURES = (render.NoRendererError, OSError)
"""The errors of what draws; a TimeoutError is an OSError too."""
MOST = 3000
"""Items of a picture; to lay out more takes Graphviz minutes, and nobody could read them."""


class Drawing:
    """A graph and how it is drawn; made by `draw_graph`. A notebook shows it by itself.

    Example:
        >>> drawing = viz.draw_graph(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), (1, 4))
        >>> print(drawing.mermaid.splitlines()[0], len(drawing.graph.nodes))
        flowchart TD 5
    """

    def __init__(self, graph: Graph, depth: int | None, fold: bool, direction: str, show: tuple[str, ...]) -> None:
        self.graph = graph
        self._depth, self._fold, self._direction, self._show = depth, fold, direction, show

    @cached_property
    def _outline(self) -> Outline:
        return outline(self.graph, self._depth, self._fold, tensors="parameters" in self._show)

    @cached_property
    def dot(self) -> str:
        """The drawing in DOT."""
        return dot(self._outline, self._show, self._direction)

    @cached_property
    def mermaid(self) -> str:
        """The drawing as a Mermaid flowchart."""
        return mermaid(self._outline, self._show, self._direction)

    @cached_property
    def html(self) -> str:
        """All of the graph as a page that needs nothing else: modules open, ops tell what they are.

        It has the norms of gradients if the graph has them: see `show` of `draw_graph`.

        Raises:
            NoRendererError: Graphviz, which lays it out, is not there.
        """
        return page(self.graph, self._direction, self._depth, self._fold)

    def save(self, path: StrPath) -> Path:
        """Write the drawing, and return where.

        Args:
            path: its suffix says how: .svg, .png or .pdf, .dot, .mmd (Mermaid) or .html (interactive).

        Raises:
            ValueError: another suffix, or more items than a picture can hold.
            NoRendererError: a picture or a page, and Graphviz is not there; the DOT text is saved beside it, as
                "name.svg.dot".
            TimeoutError: drawing it took too long; likewise.
            OSError: Graphviz failed; likewise. Or the file cannot be written; nothing is left half written.
        """
        target = Path(path)
        check_output(target)
        try:
            data = self._bytes(target.suffix.lower())
        except FAILURES as error:
            text = target.with_name(f"{target.name}.dot")
            write_atomically(text, self.dot.encode())
            raise type(error)(f"{target}: {error}. The drawing is saved as DOT in {text}") from None
        write_atomically(target, data)
        return target

    def summary(self) -> str:
        """Totals in a few lines: ops by kind, parameters, FLOPs, what is kept for the way back, time."""
        graph, ops, flops = self.graph, self.graph.ops, total_flops(self.graph.ops)
        ranked = sorted(Counter(node.name for node in ops).items(), key=lambda kind: (-kind[1], kind[0]))
        title = "\n".join(map(line, (graph.title or "graph").split("\n")))
        lines = [
            f"{title}: {len(ops)} ops ({', '.join(f'{count} {line(name)}' for name, count in ranked)})",
            f"parameters {sum(node.parameters for node in ops):,}",
            f"FLOPs {'unknown' if flops is None else scaled(flops).strip()}",
            f"kept for backward {size(sum(node.saved_bytes for node in ops))}",
        ]
        times = [node.seconds for node in ops if node.seconds is not None]
        back = [node.backward_seconds for node in ops if node.backward_seconds is not None]
        if times:
            lines.append(f"forward {seconds(sum(times))}" + (f", backward {seconds(sum(back))}" if back else ""))
        return "\n".join(lines)

    def _bytes(self, suffix: str) -> bytes:
        if suffix in TEXTS:
            return str(getattr(self, TEXTS[suffix])).encode()
        count = sum(1 for _ in self._outline.items)
        if count > MOST:
            raise ValueError(
                f"draw_graph: a picture holds at most {MOST:,} items, got {count:,}; open fewer with depth=1, or "
                "save it as .html, .dot or .mmd"
            )
        picture = render.render(self.dot, suffix[1:])
        return themed(picture.decode()).encode() if suffix == ".svg" else picture

    def __repr__(self) -> str:
        return f"<{self.summary()}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What a notebook shows: the picture where it can be drawn, Mermaid, and text."""
        shown = {"text/plain": self.summary(), "text/vnd.mermaid": self.mermaid}
        with contextlib.suppress(*FAILURES, ValueError):  # the other forms are there
            shown["image/svg+xml"] = self._bytes(".svg").decode()
        return shown


def draw_graph(
    what: Module | Tensor | Plan,
    x: Any = None,
    *,
    depth: int | None = None,
    fold: bool = True,
    direction: str = "forward",
    show: str | Iterable[str] | None = None,
    composed: bool = False,
    casts: bool = False,
    title: str = "",
) -> Drawing:
    """Draw the computation of a model for an input, that which made a tensor, or the launches of a plan.

    A model is drawn in the mode in which it is, training or inference, and the title says which: their norms differ.

    Args:
        what: a model, a tensor that ops made, or the plan of a captured function (`capture(step).plan`).
        x: the model's input, its shape (random numbers are taken then), or a list of several.
        depth: how many levels of modules are open; None for all.
        fold: whether equal blocks that follow each other are drawn once, with "× n".
        direction: "forward", "backward" (the way of gradients, and what is kept for it) or "both".
        show: what is written on nodes: shape, dtype, settings, parameters, flops, saved, time, gradient; unless given,
            shape and parameters, and with the way back saved and gradient. The last one, and both other directions,
            make a model go back from random cotangents; no `.grad` is touched.
        composed: whether fused ops are drawn as their definitions, in primitives.
        casts: whether definitions show where they change between float32 and float64.
        title: a heading, in place of the model's class; a model's mode follows it.

    Raises:
        ValueError: a tensor without a tape, a tensor or a plan with what is for a model, an unknown direction or fact,
            a model without an input, or a way back under `no_grad`.
        TypeError: neither a model nor a tensor nor a plan, or a depth or facts of another type.

    Example:
        >>> drawing = viz.draw_graph(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), (1, 4))
        >>> print(drawing.dot.splitlines()[0])
        digraph model {
    """
    facts = check_how("draw_graph", direction, show, depth)
    if isinstance(what, Tensor):
        if x is not None or composed:
            given = "composed" if composed else "x"
            raise ValueError(f"draw_graph: {given} is for a model, got a tensor, which is drawn as it was made")
        graph = from_tensor(what, title=title)
    elif isinstance(what, Plan):
        if x is not None or composed or direction != "forward":
            raise ValueError("draw_graph: a plan is drawn as it runs, so it takes no x, composed or direction")
        graph = from_plan(what, title)
    elif isinstance(what, Module):
        back = "gradient" in facts or direction != "forward"
        if x is None:
            raise ValueError("draw_graph: x is the model's input, or the shape of one, got none; try (1, 3, 32, 32)")
        inputs = x if isinstance(x, list) else [x]
        graph = from_call(what, *inputs, title=title, gradients=back, composed=composed, casts=casts)
    else:
        kind = type(what).__name__
        hint = "; give its .plan, which it has once a call was recorded" if isinstance(what, Captured) else ""
        raise TypeError(f"draw_graph: what is drawn is a model, a tensor or a plan, got a {kind}{hint}")
    return Drawing(graph, depth, fold, direction, facts)


def check_how(
    caller: str, direction: str, show: str | Iterable[str] | None, depth: int | None = None
) -> tuple[str, ...]:
    """Refuse what nothing can be drawn by; return what is written on nodes, chosen by the direction unless given."""
    if show is None:
        show = ("shape", "parameters") if direction == "forward" else ("shape", "parameters", "saved", "gradient")
    if not isinstance(show, Iterable):
        raise TypeError(f"{caller}: show is names out of {', '.join(SHOWN)}, got {show!r}")
    facts = (show,) if isinstance(show, str) else tuple(show)
    check_choice(f"{caller}: direction", direction, WAYS)
    for fact in facts:
        check_choice(f"{caller}: show", fact, SHOWN)
    if depth is not None:
        check_integer(f"{caller}: depth (None for all levels)", depth, 0)
    return facts


def check_output(path: Path) -> None:
    """Refuse, before any work, a file in which no drawing can be saved.

    Raises:
        ValueError: the suffix is unknown.
        OSError: the file could not be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"the suffix of a drawing is {', '.join(SUFFIXES)}, got {path.suffix!r}")
    check_writable(path)


def themed(svg: str) -> str:
    """An SVG that is never wider than its place, and dark where its reader prefers that: each colour has its twin."""
    style = (
        "<style>svg { max-width: 100%; height: auto; } "
        f"@media (prefers-color-scheme: dark) {{ {dark_rules()} }}</style>"
    )
    return re.sub(r"(<svg\b[^>]*>)", lambda found: found.group(1) + style, svg, count=1)
