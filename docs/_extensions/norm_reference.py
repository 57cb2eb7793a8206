"""The page of each norm layer: its entry in the reference, and what `tinygrad-norm derive` and `certify` tell of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_norm import nn
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.models.norm_catalog import derived_norm, norm_facts
from tinygrad_norm.viz.html import VIEWER
from tinygrad_norm.viz.norm_page import block_picture, norm_sections, sources
from tinygrad_norm.viz.style import style_sheet

if TYPE_CHECKING:
    from reference import Writer
    from sphinx.application import Sphinx

CERTIFICATES = Path(__file__).parent.parent / "norms" / "certificates.json"
"""What `python docs/norms/certify.py` writes, in an hour or more."""
GENERATED = Path(__file__).parent.parent / "_build" / "generated"


def pages(writer: Writer) -> Iterator[tuple[str, str]]:
    """Each norm layer's name, and its page."""
    from reference import Public

    certificates = json.loads(CERTIFICATES.read_text(encoding="utf-8"))
    for name in norm_layers():
        entry = writer.entry(Public(f"tinygrad_norm.nn.{name}", getattr(nn, name)))
        parts = [f"# {name}", "", *entry, *_facts(name), *_sections(name), *_certificate(name, certificates)]
        yield name, "\n".join(parts)


def _facts(name: str) -> Iterator[str]:
    facts = norm_facts(name)
    yield from ("## At a glance", "")
    rows = {
        "Statistics are taken over": facts.shared,
        "It learns": ", ".join(facts.parameters) or "nothing",
        "It keeps from call to call": ", ".join(facts.state) or "nothing",
        "Cost": facts.cost,
        "Its name in `create_model` and `--norm`": ", ".join(f"`{each}`" for each in facts.names) or "none",
    }
    yield from (f"- {title}: {words}" for title, words in rows.items())
    yield ""


def _sections(name: str) -> Iterator[str]:
    kind: Any = norm_layers()[name]
    if kind.underivable:
        yield from ("## What shares its statistics", "", *_html(block_picture(name)))
        yield from ("## The definition", "")
        for text in sources(kind.definition):
            yield from ("````python", text.strip("\n"), "````", "")
        yield from ("## The derivation", "", f"It is not derived from its definition, as {kind.underivable}.", "")
        return
    for title, text in norm_sections(derived_norm(name), name).items():
        yield from (f"## {title}", "", *_html(text))


def _html(text: str) -> Iterator[str]:
    yield from ("``````{raw} html", f'<div class="norm">{text}</div>', "``````", "")


def _certificate(name: str, certificates: dict[str, str]) -> Iterator[str]:
    yield from ("## The certificate", "")
    if name in certificates:
        yield from (f"`tinygrad-norm certify {name}` found:", "", "```text", certificates[name], "```", "")
    else:
        yield from (f"`tinygrad-norm certify {name}` makes it, in some minutes; none is stored yet.", "")


def style() -> str:
    """The colours of paths, and the rest of what the norms' own pages look like, for a part of a page of the site."""
    own = (VIEWER / "norm.css").read_text(encoding="utf-8")
    own = own[own.index("/* What is wider") :]
    colours = re.sub(r"^:root", ".norm", style_sheet())
    theme = ".norm { --ground: var(--pst-color-background); --text: var(--pst-color-text-base); color-scheme: light; }"
    dark = 'html[data-theme="dark"] .norm { color-scheme: dark; } .norm figcaption { color: var(--text); }'
    code = ".norm code { color: inherit; } .norm .listing .formula { margin: 0; padding: 0; }"
    signatures = "dt.sig { overflow-wrap: anywhere; }"  # of a long name on a phone
    return "\n".join([colours, theme, dark, f".norm {{ {own} }}", code, signatures, ""])


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the style of these pages; `reference` writes them."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    (GENERATED / "norms.css").write_text(style(), encoding="utf-8")
    app.config.html_static_path.append(str(GENERATED / "norms.css"))
    app.add_css_file("norms.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
