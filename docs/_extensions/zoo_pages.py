"""Writes a page for each net of the zoo, from the registry and one template."""

from __future__ import annotations

import inspect
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import tinygrad_norm
from tinygrad_norm.models.registry import MODELS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE, PACKAGE = Path(__file__).parent, Path(tinygrad_norm.__file__).parent


def write(folder: Path) -> None:
    """Write the pages that are not yet as they should be, and remove those of nets that are gone."""
    folder.mkdir(exist_ok=True)
    template = Template((HERE / "zoo_page.md.template").read_text(encoding="utf-8"))
    for name, net in MODELS.items():
        file = Path(inspect.getfile(net))
        about = (inspect.getdoc(net) or "").partition("\n")[0]
        source = f"../../../tinygrad_norm/{file.relative_to(PACKAGE).as_posix()}"
        page = template.substitute(name=name, title=net.__name__, about=about, source=source, kind=net.__name__)
        target = folder / f"{name}.md"
        if not target.exists() or target.read_text(encoding="utf-8") != page:
            target.write_text(page, encoding="utf-8")
    for path in folder.glob("*.md"):
        if path.stem not in MODELS:
            path.unlink()


def _write(app: Sphinx) -> None:
    write(Path(app.srcdir) / "concepts" / "zoo")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write before Sphinx looks which pages there are."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
