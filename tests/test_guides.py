"""The guides: each is listed, uses what it imports, and what they say of PyTorch's names is of this project's own."""

from __future__ import annotations

import re
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import nn, ops, optim

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "guides"
GUIDES = sorted(path for path in FOLDER.glob("*.md") if path.stem != "index")
documents = run_path(str(Path(__file__).with_name("test_documents.py")))


@pytest.fixture(scope="module")
def tables() -> Any:
    """What `docs/_code/pytorch.py` defines."""
    return run_path(str(ROOT / "docs" / "_code" / "pytorch.py"))


def test_every_guide_is_listed():
    listed = re.search(r"```\{toctree\}\n:maxdepth: 1\n\n(.*?)```", (FOLDER / "index.md").read_text(), re.DOTALL)
    assert sorted(listed[1].split()) == [path.stem for path in GUIDES]


@pytest.mark.parametrize("page", GUIDES, ids=lambda path: path.stem)
def test_a_guide_runs_and_uses_what_it_imports(page):
    assert documents["code_cells"](page)
    documents["test_the_cells_of_a_page_use_what_they_import"](page)


def test_every_public_name_has_a_place_in_the_table(tables):
    found = tables["pairs"]()
    for group, names in (("nn", nn.__all__), ("optim", optim.__all__)):
        listed = {pair.ours for pair in found if pair.group == group}
        assert set(names) - listed <= {"init", "parametrizations", "parametrize"}
    assert {"conv2d", "batch_norm", "sum", "cross_entropy"} <= {pair.ours for pair in found if pair.group == "ops"}
    for pair in found:
        tables["ours"](pair)  # raises where there is no such name
    known = {f"{group}.{name}" for group, name in tables["public"]()}
    assert set(tables["OTHERS"]) <= known


def test_the_table_pairs_by_rule_and_by_exception(tables):
    found = {f"{pair.group}.{pair.ours}": pair.theirs for pair in tables["pairs"]()}
    assert found["nn.BatchNorm2D"] == "torch.nn.BatchNorm2d"
    assert found["optim.LinearWarmup"] == "torch.optim.lr_scheduler.LinearLR"
    assert found["ops.relu"] == "torch.nn.functional.relu"
    assert found["ops.concat"] == "torch.concat"
    assert found["nn.FilterResponseNorm2D"] == ""
    assert "BatchNorm2d" not in tables["absent"]("torch.nn")
    assert "LSTM" in tables["absent"]("torch.nn")


def test_what_is_said_of_both_is_what_this_project_answers(tables):
    there = tables["stored"]()["results"]
    for rows, alike in ((tables["ALIKE"], True), (tables["DIFFERENT"], False)):
        for row in rows:
            assert (tables["answer"](row.here, tables["NAMES"])[0] == there[row.there]) == alike, row.about


def test_arguments_are_compared_by_their_defaults(tables):
    def mine(x: Any, axis: int = -1, *, eps: float = 1e-5, activation: Any = None) -> None: ...
    def theirs(input: Any, dim: Any = None, eps: float = 0.00001, weight: Any = None, device: Any = None) -> None: ...

    found = tables["differences"](tables["arguments"](mine), tables["arguments"](theirs))
    assert found == (["activation"], ["weight"], [("axis", "-1", "None")])
    assert tables["arguments"](ops.sum) == {"x": "", "axis": "None", "keepdims": "False"}


def test_an_error_is_an_answer_and_numbers_are_told_to_four_digits(tables):
    answer, names = tables["answer"], tables["NAMES"]
    assert answer("nn.Linear(2, 1)(Tensor([[1.0]]))", names)[0] == "ValueError"
    assert answer("x = np.float32(1) / 3; [x, np.int64(2), np.dtype('float64')]", names)[0] == [0.3333, 2, "float64"]
    assert names["np"] is np
    assert "x" not in names


def test_names_are_counted_on_both_sides(tables):
    ours = {row[0]: [int(number) for number in row[1:]] for row in tables["counts_table"]().rows[1:]}
    theirs = {row[0]: [int(number) for number in row[1:]] for row in tables["their_counts_table"]().rows[1:]}
    assert list(ours) == [f"`{group}`" for group in tables["PLACES"]]
    assert ours["`optim`"][0] == len(optim.__all__)
    for total, paired, rest in (*ours.values(), *theirs.values()):
        assert total == paired + rest
        assert paired > 0
    assert theirs["`torch.nn`"][2] == len(tables["absent"]("torch.nn"))


def test_a_table_of_results_tells_both_answers_or_the_one(tables):
    row = tables["DIFFERENT"][0]
    assert tables["results_table"]([row]).rows[1][1:] == [
        "`nn.BatchNorm2D.__name__`\n→ `BatchNorm2D`",
        "`nn.BatchNorm2d.__name__`\n→ `BatchNorm2d`",
    ]
    alike = next(row for row in tables["ALIKE"] if row.here == row.there)
    assert tables["results_table"]([alike], alike=True).rows[1][1] == f"`{alike.here}`"


def test_cells_of_a_table_are_escaped(tables):
    shown = tables["Table"]([("a", "b"), ("`x < 1`\nnext", "&")])._repr_html_()
    assert "<td><code>x &lt; 1</code><br>next</td><td>&amp;</td>" in shown
