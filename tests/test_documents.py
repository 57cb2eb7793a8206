"""The Python in documents runs, and computes what the text around it says; links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_norm.models import list_models

ROOT = Path(__file__).parent.parent


def run_blocks(name: str) -> dict[str, Any]:
    """Run all Python blocks of a document in order, in one namespace, and return it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    namespace: dict[str, Any] = {}
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], name, "exec"), namespace)
    return namespace


def test_readme(capsys):
    found = run_blocks("README.md")
    np.testing.assert_allclose(found["y"].numpy().mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found["y"].numpy().std(axis=(0, 2, 3)), 1, atol=1e-5)
    assert found["accuracy"] > 0.96
    assert f"{found['accuracy']:.1%}\n" in capsys.readouterr().out
    assert found["by_pixel"].shape == (2, 10, 2, 1, 8, 8)
    assert [each.shape for each in found["products"]] == [each.shape for each in found["model"].parameters()]
    assert found["replaced"] == ["layer3.0.bn1", "layer3.0.bn2", "layer3.0.downsample.1"]


def test_the_reading_guide(capsys):
    found = run_blocks("docs/reading.md")
    assert found["x"].shape == (64, 32)
    assert found["x"].dtype == np.float32
    np.testing.assert_allclose(found["by_kernel"], found["by_definition"], atol=1e-5)
    shown = capsys.readouterr().out
    assert "Tensor([ 3., 40.])" in shown
    sums = [float(number) for number in re.findall(r"\]\] (\S+)$", shown, re.MULTILINE)]
    assert len(sums) == 2
    assert abs(sums[0]) < 1e-12 < 0.1 < abs(sums[1])
    assert "x acts on y by 3 paths:" in shown
    assert "statistics taken over rows (inner) or columns (outer)" in shown
    assert re.search(r"on purpose: (\d+) of \1 killed", shown)


FOLDERS = ("benchmarks", "docs", "tinygrad_norm")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])


def without_code(document: Path) -> str:
    """The text of a document without its blocks and pieces of code."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """The names that GitHub gives the headings of a document, of which links after # are made."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> list[str]:
    """The relative links of a document that lead to no file, or to no heading of one."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", without_code(document)):
        path, _, heading = link.partition("#")
        target = document.parent / path if path else document
        if "://" not in link and not (target.exists() and (not heading or heading in anchors(target))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_a_file_and_a_heading(document):
    assert broken_links(document) == []


def test_a_broken_link_is_found(tmp_path):
    other, document = tmp_path / "other.md", tmp_path / "document.md"
    other.write_text("# What it is, `briefly`\n\n```\n# no heading\n```\n")
    links = (
        "other.md",
        "other.md#what-it-is-briefly",
        "other.md#no-heading",
        "#here",
        "#there",
        "gone.md",
        "https://x.y",
    )
    document.write_text("# Here\n\n`[code](gone-too.md)` " + " ".join(f"[a link]({link})" for link in links))
    assert broken_links(document) == ["other.md#no-heading", "#there", "gone.md"]


def test_contributing():
    found = run_blocks("CONTRIBUTING.md")
    x = found["x"].numpy()
    np.testing.assert_allclose(found["cube"](x).numpy(), x**3)
    np.testing.assert_allclose(found["squared_relu"](x).numpy(), np.where(x > 0, x**2, 0))


CHAPTERS = [ROOT / "docs" / "concepts", ROOT / "docs" / "normalization"]
PAGES = [
    path for chapter in CHAPTERS for path in sorted(chapter.glob("*.md")) if path.stem not in ("index", "questions")
]
PARTS = ("What it is", "A picture", "What goes wrong")
"""Headings of a page of the book. A page on normalization has its formulas and its code by norm."""


def code_cells(document: Path) -> list[str]:
    """The cells of a page that run when the site is built."""
    text = document.read_text(encoding="utf-8")
    return re.findall(r"^```\{code-cell\}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def inclusions(document: Path) -> list[tuple[Path, str]]:
    """The pieces of source that a page shows: the file, and the name in it, or the text that it begins with."""
    text = document.read_text(encoding="utf-8")
    found = re.findall(r"^```\{literalinclude\} (\S+)\n:(?:pyobject|start-at): (.+)$", text, flags=re.MULTILINE)
    return [(document.parent / path, name.strip('"')) for path, name in found]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.name)
def test_the_pages_of_a_chapter_are_listed(chapter):
    listed = re.search(r"```\{toctree\}\n:maxdepth: 1\n\n(.*?)```", (chapter / "index.md").read_text(), re.DOTALL)
    assert sorted(listed[1].split()) == sorted(path.stem for path in chapter.glob("*.md") if path.stem != "index")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_page_of_the_book_tells_draws_and_runs(page):
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    for part in PARTS if page != CHAPTERS[0] / "normalization.md" else ("What it is", "What goes wrong"):
        assert part in headings
    assert any("xperiment" in heading for heading in headings)
    assert "$$" in text
    assert any("show(axes)" in cell or "draw_graph(" in cell for cell in code_cells(page))
    assert inclusions(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_cells_of_a_page_use_what_they_import(page):
    code = ["\n".join(line for line in cell.split("\n") if not line.startswith(":")) for cell in code_cells(page)]
    tree = ast.parse("\n".join(re.sub(r"\A---\n.*?^---\n", "", cell, flags=re.MULTILINE | re.DOTALL) for cell in code))
    nodes = list(ast.walk(tree))
    imports = [alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert {alias.asname or alias.name for alias in imports} - used == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_code_that_a_page_shows_is_there(page):
    for path, name in inclusions(page):
        source = path.read_text(encoding="utf-8")
        last = re.escape(name.rpartition(".")[2])
        assert name in source or re.search(rf"^ *(class|def) {last}\b", source, re.MULTILINE), f"{path}: {name}"


def test_the_sections_on_normalization():
    text = (ROOT / "docs" / "concepts" / "normalization.md").read_text(encoding="utf-8")
    wanted = [
        "Batch norm",
        "Layer norm",
        "Batch norm for fully connected layers",
        "Implementation details",
        "Experiments",
    ]
    assert [heading for heading in re.findall(r"^## (.+)$", text, re.MULTILINE) if heading in wanted] == wanted


def extension(name: str) -> Any:
    """A module of those that Sphinx loads when it builds the site."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_extensions" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_net_of_the_zoo_has_a_page(tmp_path):
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "a_net_that_is_gone.md").write_text("")
    extension("zoo_pages").write(folder)
    assert {path.stem for path in folder.iterdir()} == set(list_models())
    listed = re.findall(r"^zoo/(\w+)$", (ROOT / "docs" / "concepts" / "zoo.md").read_text(), re.MULTILINE)
    assert listed == list_models()
    for path in folder.iterdir():
        (source, name), *others = inclusions(path)
        place = ROOT / "docs" / "concepts" / "zoo" / source.relative_to(folder)
        assert f"class {name}(" in place.resolve().read_text(encoding="utf-8")
        assert not others


def test_faults_of_built_pages_are_found(tmp_path):
    site_links = extension("site_links")
    (tmp_path / "other.html").write_text('<h1 id="here">Here</h1><a name="old"></a>')
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "part.html").write_text('<a href="{{ a template }}">')
    (tmp_path / "page.html").write_text(
        '<link rel="next" href="other.html"><link rel="stylesheet" href="https://x.y/style.css">'
        '<a href="other.html#here"></a><a href="other.html#old"></a><a href="other.html#gone"></a>'
        '<a href="#nowhere"></a>'
        '<a href="gone.html"></a><a href="https://x.y"></a><a href="mailto:x@y"></a>'
        '<img src="data:image/png;base64,AA==" alt="A dot"><img src="gone.png"><script src="//x.y/script.js"></script>'
    )
    assert list(site_links.faults(tmp_path)) == [
        "page.html: gone.png has no text in its place",
        "page.html: other.html#gone leads to no anchor",
        "page.html: #nowhere leads to no anchor",
        "page.html: gone.html leads to no file",
        "page.html: loads https://x.y/style.css",
        "page.html: gone.png leads to no file",
        "page.html: loads //x.y/script.js",
    ]
