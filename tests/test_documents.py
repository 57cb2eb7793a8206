"""The Python in documents runs, and computes what the text around it says; links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
