"""An outline as DOT, the language of Graphviz."""

from __future__ import annotations

from html import escape
from typing import Any

import graphviz

from tinygrad_norm.viz.facts import facts, keeps, kept
from tinygrad_norm.viz.formats import line, size, width
from tinygrad_norm.viz.outline import Link, Outline
from tinygrad_norm.viz.parts import Box, Item
from tinygrad_norm.viz.style import BACKWARD, BOX, FORWARD, GROUND, LOOKS, TEXT, Look, kinds, look_of

FONT = "Helvetica,Arial,sans-serif"
WAYS = {"forward": (False,), "backward": (True,), "both": (False, True)}


def dot(outline: Outline, show: tuple[str, ...], direction: str = "forward") -> str:
    """The drawing as DOT, the same text for the same outline.

    Args:
        outline: what is drawn.
        show: what is written on each node, of `facts.SHOWN`.
        direction: forward, backward (gradients go against the arrows, to what wants them) or both.
    """
    if direction == "backward":
        outline = outline.way_back()
    picture = graphviz.Digraph("model")
    title, *lines = outline.root.title.split("\n")
    picture.attr("graph", label=_label(title, lines), labelloc="t", fontname=FONT, fontsize="16", pad="0.3")
    picture.attr("graph", fontcolor=TEXT[0], bgcolor=GROUND[0], ranksep="0.35", nodesep="0.25", compound="true")
    picture.attr("node", fontname=FONT, fontsize="11", fontcolor=TEXT[0], margin="0.14,0.07", height="0.3")
    picture.attr("edge", arrowsize="0.6")
    links = [(link, backward) for backward in WAYS[direction] for link in outline.links if link.back or not backward]
    _add_parts(picture, outline.root, show, direction)
    for link, backward in links:
        _add_link(picture, link, backward, both=direction == "both")
    _add_legend(picture, kinds(outline, direction), direction)
    return str(picture.source)


def _add_parts(picture: Any, box: Box, show: tuple[str, ...], direction: str) -> None:
    for part in box.parts:
        if not isinstance(part, Box):
            _add_item(picture, part, facts(part, show, direction))
            if keeps(part, direction):
                _add_saved(picture, part)
            continue
        with picture.subgraph(name=f"cluster_{part.id}") as inner:
            inner.attr(label=_heading(_times(part)), style="rounded", color=BOX[0], fontsize="12", margin="10")
            inner.attr(labelloc="t", labeljust="r", **{"class": "box"})
            _add_parts(inner, part, show, direction)


def _add_item(picture: Any, item: Item, lines: list[str]) -> None:
    kind = look_of(item)
    more = {"peripheries": "2" if kind == "fused" else "1", "tooltip": graphviz.escape(line(item.title))}
    if LOOKS[kind].shape == "parallelogram":
        more["margin"] = "0"  # its slanted sides leave room by themselves
    _add_node(picture, item.id, _label(_times(item), lines), kind, **more)


def _add_saved(picture: Any, item: Item) -> None:
    """What an op keeps for the way back, as a node of its own."""
    name = f"{item.id}_saved"
    _add_node(picture, name, _label("keeps", kept(item)), "saved")
    picture.edge(name, item.id, style="dashed", color=LOOKS["saved"].line, arrowhead="none", constraint="false")


def _add_node(picture: Any, name: str, label: str, kind: str, **more: str) -> None:
    look = LOOKS[kind]
    colours = {"style": look.style, "color": look.line, "fillcolor": look.fill, "class": kind}
    picture.node(name, label, shape=look.shape, **colours, **more)


def _add_link(picture: Any, link: Link, backward: bool, both: bool) -> None:
    ends = (link.target, link.source) if backward else (link.source, link.target)
    picture.edge(
        *ends,
        color=(BACKWARD if backward else FORWARD)[0],
        penwidth=f"{width(link.nbytes):.3g}",
        style="dashed" if backward else "solid",
        tooltip=size(link.nbytes),
        constraint="false" if backward and both else "true",
        **{"class": "backward" if backward else "forward"},
    )


def _add_legend(picture: Any, kinds: list[str], direction: str) -> None:
    """A row for each kind of node and arrow that there is."""
    rows = [*dict.fromkeys(_sample(LOOKS[kind]) for kind in kinds)]
    for backward in WAYS[direction]:
        name = f"{'gradient' if backward else 'tensor'}; wider: more bytes"
        colour = (BACKWARD if backward else FORWARD)[0]
        arrow = f'<FONT COLOR="{colour}">{"⇠" if backward else "→"}</FONT>'
        rows.append(f'<TR><TD>{arrow}</TD><TD ALIGN="LEFT">{name}</TD></TR>')
    table = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="3" CELLPADDING="2">{"".join(rows)}</TABLE>'
    with picture.subgraph(name="cluster_legend") as legend:
        legend.attr(label="", style="rounded", color=BOX[0], **{"class": "box"})
        legend.node("legend", f"<{table}>", shape="plaintext", fontsize="9", **{"class": "legend"})


def _sample(look: Look) -> str:
    border = 3 if look.title == LOOKS["fused"].title else 1
    cell = f'<TD BORDER="{border}" COLOR="{look.line}" BGCOLOR="{look.fill}" WIDTH="18"> </TD>'
    return f'<TR>{cell}<TD ALIGN="LEFT">{look.title}</TD></TR>'


def _times(part: Box | Item) -> str:
    return f"{part.title}  × {part.repeats}".strip() if part.repeats > 1 else part.title


def _heading(title: str) -> str:
    """That of a box: its name, and under it what it is; in a corner, for arrows come in the middle and on the left."""
    name, _, rest = title.partition(": ")
    small = [f'<FONT POINT-SIZE="9">{_escaped(part)}</FONT>' for part in rest.split(", ") if part]
    return "<" + "".join(part + '<BR ALIGN="RIGHT"/>' for part in (f"<B>{_escaped(name)}</B>", *small)) + ">"


def _label(title: str, lines: list[str]) -> str:
    """A title and lines under it, as Graphviz's HTML."""
    rest = "".join(f'<BR/><FONT POINT-SIZE="9">{_escaped(part)}</FONT>' for part in lines)
    return f"<<B>{_escaped(title)}</B>{rest}>"


def _escaped(text: str) -> str:
    r"""Text in Graphviz's HTML, in which \N is the name of the node, and no element may be empty."""
    return escape(line(text)).replace("\\", "\\\\") or " "
