"""An outline as Mermaid, which GitHub and JupyterLab draw by themselves."""

from __future__ import annotations

from tinygrad_norm.viz.facts import facts, keeps, kept
from tinygrad_norm.viz.formats import line
from tinygrad_norm.viz.outline import Outline
from tinygrad_norm.viz.parts import Box
from tinygrad_norm.viz.style import LOOKS, TEXT, kinds, look_of

SHAPES = {
    "op": '("{}")',
    "fused": '[["{}"]]',
    "module": '["{}"]',
    "parameter": '(["{}"])',
    "input": '[/"{}"/]',
    "output": '[/"{}"/]',
    "tensor": '(["{}"])',
    "saved": '["{}"]',
}


def mermaid(outline: Outline, show: tuple[str, ...], direction: str = "forward") -> str:
    """The drawing as a Mermaid flowchart, the same text for the same outline; arguments as those of `dot`."""
    if direction == "backward":
        outline = outline.way_back()
    lines = ["flowchart TD"]
    _add_parts(lines, outline.root, show, direction, "  ")
    for link in outline.links:
        if direction != "backward":
            lines.append(f"  {link.source} --> {link.target}")
        if direction != "forward" and link.back:
            lines.append(f"  {link.target} -.-> {link.source}")
    for kind in kinds(outline, direction):
        look = LOOKS[kind]
        lines.append(f"  classDef {kind} fill:{look.fill},stroke:{look.line},color:{TEXT[0]}")
    return "\n".join(lines) + "\n"


def _add_parts(lines: list[str], box: Box, show: tuple[str, ...], direction: str, indent: str) -> None:
    for part in box.parts:
        title = f"{part.title} × {part.repeats}".strip() if part.repeats > 1 else part.title
        if not isinstance(part, Box):
            lines.append(indent + _node(part.id, look_of(part), [title, *facts(part, show, direction)]))
            if keeps(part, direction):
                lines.append(indent + _node(f"{part.id}_saved", "saved", ["keeps", *kept(part)]))
                lines.append(f"{indent}{part.id}_saved -.- {part.id}")
            continue
        lines.append(f'{indent}subgraph {part.id} ["{_escaped(title)}"]')
        _add_parts(lines, part, show, direction, indent + "  ")
        lines.append(f"{indent}end")


def _node(name: str, kind: str, lines: list[str]) -> str:
    return f"{name}{SHAPES[kind].format('<br/>'.join(map(_escaped, lines)))}:::{kind}"


def _escaped(text: str) -> str:
    """Text that Mermaid takes for text: all but letters, digits and what surely means nothing to it by number."""
    return "".join(letter if letter.isalnum() or letter in " ._,:-/×" else f"#{ord(letter)};" for letter in line(text))
