"""Checks of the built pages: each link leads to a page and an anchor that are there; nothing is loaded from elsewhere.

It needs nothing but Python, so that a test can hold it to account without Sphinx.
"""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "image": "href"}
"""What a browser fetches by itself, and the attribute that says where."""
NO_LOADS = {"next", "prev", "search", "index", "canonical", "author", "copyright"}
"""Kinds of <link> that a browser does not follow by itself."""


class Page(HTMLParser):
    """The anchors, the links and the loads of one page, and its pictures that say nothing to who does not see them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.untold: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in LOADS and LOADS[tag] in given and not NO_LOADS & set(given.get("rel", "").split()):
            self.loads.append(given[LOADS[tag]])
        if tag == "img" and given.get("alt", "") in ("", given.get("src")):
            self.untold.append(given.get("src", ""))

    handle_startendtag = handle_starttag


def faults(folder: Path) -> Iterator[str]:
    """Broken links of the pages in a folder, what they load from elsewhere, and pictures without a text."""
    files = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.relative_to(folder).parts]
    pages = {path.resolve(): Page(path) for path in files}
    for path, page in pages.items():
        name = path.relative_to(folder.resolve()).as_posix()
        yield from (f"{name}: {picture} has no text in its place" for picture in page.untold)
        for link in (*page.links, *page.loads):
            scheme, host, target, _, anchor = urlsplit(link)
            if scheme == "data" or ((scheme or host) and link not in page.loads):
                continue
            if scheme or host:
                yield f"{name}: loads {link}"
                continue
            found = (path.parent / unquote(target)).resolve() if target else path
            found = found / "index.html" if found.is_dir() else found
            if not found.exists():
                yield f"{name}: {link} leads to no file"
            elif anchor and found in pages and unquote(anchor) not in pages[found].anchors:
                yield f"{name}: {link} leads to no anchor"


def _check(app: Any, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html" and (found := list(faults(Path(app.outdir)))):
        from sphinx.errors import SphinxError

        raise SphinxError("\n".join(["the built pages have faults:", *found]))


def setup(app: Any) -> dict[str, Any]:
    """Check when all others have finished the build."""
    app.connect("build-finished", _check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
