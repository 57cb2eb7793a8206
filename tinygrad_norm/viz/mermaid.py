"""An outline as Mermaid, which GitHub and JupyterLab draw by themselves."""

from __future__ import annotations

from tinygrad_norm.viz.outline import Box, Item, Outline
from tinygrad_norm.viz.style import LOOKS, facts, kind_of

SHAPES = {
    "op": '("{}")',
    "fused": '[["{}"]]',
    "module": '["{}"]',
    "parameter": '(["{}"])',
    "input": '[/"{}"/]',
    "tensor": '(["{}"])',
}


def mermaid(outline: Outline, show: tuple[str, ...], direction: str = "forward") -> str:
    """The drawing as a Mermaid flowchart, the same text for the same outline; arguments as those of `dot`."""
    lines = ["flowchart TD"]
    _add_parts(lines, outline.root, show, "  ")
    for link in outline.links:
        if direction != "backward":
            lines.append(f"  {link.source} --> {link.target}")
        if direction != "forward" and link.back:
            lines.append(f"  {link.target} -.-> {link.source}")
    for kind in sorted({kind_of(item) for item in outline.items}):
        look = LOOKS[kind]
        lines.append(f"  classDef {kind} fill:{look.fill},stroke:{look.line},color:#1B1F23")
    return "\n".join(lines) + "\n"


def _add_parts(lines: list[str], box: Box, show: tuple[str, ...], indent: str) -> None:
    for part in box.parts:
        title = f"{part.title} × {part.repeats}" if part.repeats > 1 else part.title
        if isinstance(part, Item):
            kind = kind_of(part)
            label = "<br/>".join(map(_escaped, [title, *facts(part, show)]))
            lines.append(f"{indent}{part.id}{SHAPES[kind].format(label)}:::{kind}")
            continue
        lines.append(f'{indent}subgraph {part.id} ["{_escaped(title)}"]')
        _add_parts(lines, part, show, indent + "  ")
        lines.append(f"{indent}end")


def _escaped(text: str) -> str:
    """Text that Mermaid takes for text: all but letters, digits and what surely means nothing to it by number."""
    return "".join(letter if letter.isalnum() or letter in " ._,:-/×" else f"#{ord(letter)};" for letter in text)
