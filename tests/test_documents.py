"""The Python in README.md and CONTRIBUTING.md runs, and computes what the text around it says."""

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
    assert found["replaced"] == ["layer3.0.bn1", "layer3.0.bn2", "layer3.0.downsample.1"]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_within_the_repository_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
    assert name != "README.md" or "docs/experiments" in links


def test_contributing():
    found = run_blocks("CONTRIBUTING.md")
    x = found["x"].numpy()
    np.testing.assert_allclose(found["cube"](x).numpy(), x**3)
    np.testing.assert_allclose(found["squared_relu"](x).numpy(), np.where(x > 0, x**2, 0))
