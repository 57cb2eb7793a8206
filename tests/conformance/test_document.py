from __future__ import annotations

import re
from pathlib import Path
from runpy import run_path

import pytest

from tinygrad_norm.conformance import document, frameworks, measurement, trials
from tinygrad_norm.conformance.kinds import NORM_KINDS

own = run_path(str(Path(__file__).parent / "own.py"))
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


@pytest.fixture
def two(monkeypatch):
    """Two frameworks, one of them without gradients, one that is not installed, and three checks."""
    found = {"plain": own["Plain"], "own": own["Own"], "jax": frameworks.JAX}
    every = trials.trials()
    names = ("value, randn", "value, 2000 + randn", "first derivative, float64")
    monkeypatch.setattr(frameworks.JAX, "packages", ("no_such_package",))
    for module in (measurement, document):
        monkeypatch.setattr(module, "FRAMEWORKS", found)
        monkeypatch.setattr(module, "trials", lambda: {name: every[name] for name in names})


def test_a_kind_has_a_table_with_a_column_for_each_norm(two):
    page = document.document()
    assert page.count("\n## ") == 1
    table, words = page.partition("## Layer norm\n\n")[2].split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[0] == ["", "NumPy `norm`", "own norms `right`", "own norms `one_pass`", "bound"]
    assert [row[0] for row in rows[2:]] == [
        "value, randn",
        "value, 2000 + randn",
        "first derivative, float64",
        "**deviations**",
    ]
    assert rows[3][1:] == [rows[3][1], rows[3][2], rows[3][3], "1.0e-06"]
    assert re.fullmatch(r"\*\*\d\.\de[+-]\d\d\*\*", rows[3][3])
    assert re.fullmatch(r"\d\.\de-\d\d", rows[3][2])
    assert (rows[4][1], rows[4][4]) == ("–", "1.0e-12")
    assert rows[5][1:] == ["0", "0", "1", ""]
    assert words.startswith("- own norms `one_pass`, value, 2000 + randn: y is ")
    assert "Not installed here, and so not measured: JAX." in page


def test_it_is_written_the_same_again(two):
    assert document.document() == document.document()


def test_cells():
    assert document._cell(trials.OK, 0.0) == "0"
    assert document._cell(trials.DEVIATES, 0.5) == "**5.0e-01**"
    assert document._cell(trials.REFUSED, None) == "*refused*"


def test_the_page_of_the_documents_is_what_the_command_writes():
    page = PAGE.read_text(encoding="utf-8")
    versions = re.search(r"^How near .*: (.*)\.$", page, re.MULTILINE)
    names = [part.rpartition(" ")[0] for part in versions[1].split(", ")]
    assert names == [framework.title for framework in frameworks.FRAMEWORKS.values()]
    head = document.HEADING.format(frameworks=versions[1], lacking="")
    assert page.startswith(head)
    for kind in NORM_KINDS.values():
        table = page.partition(f"## {kind.title[0].upper()}{kind.title[1:]}\n\n")[2].split("\n\n")[0]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        columns = [
            f"{framework.title} `{norm.rpartition('.')[2]}`"
            for framework in frameworks.FRAMEWORKS.values()
            for norm in framework.norms.get(kind.name, ())
        ]
        assert rows[0] == ["", *columns, "bound"]
        assert [row[0] for row in rows[2:]] == [*trials.trials(), "**deviations**"]
        assert rows[-1][1] == "0", f"ours deviates as {kind.title}"
