from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinygrad_norm.experiments.papers.index import as_page, main
from tinygrad_norm.experiments.papers.paper import AGREES, CONTRADICTS, Finding, Judgement, Paper

RESULTS = Path(__file__).parents[3] / "docs" / "papers"


def judge(result):
    outcome = AGREES if result["good"] else CONTRADICTS
    return Judgement((Finding("the part", outcome, "It was 3."),), "smaller.")


ONE = SimpleNamespace(PAPER=Paper("A. One", "On Norms", 2018, "Norms help.", "9 %."), judge=judge)


def test_a_row_and_a_section_for_each_result(tmp_path):
    (tmp_path / "paper-a.json").write_text(json.dumps({"good": True}))
    (tmp_path / "paper-b.json").write_text(json.dumps({"good": False}))
    page = as_page(tmp_path, {"b": ONE, "a": ONE, "none": ONE})
    assert "\n| [b](#b), 2018 | contradicts |\n| [a](#a), 2018 | agrees |\n\n## b\n" in page
    assert page.endswith(
        "\n## a\n\nA. One, On Norms, 2018; [the report](paper-a.md).\n\n- Claim: Norms help.\n- Figures: 9 %.\n"
        "- Ours **agrees**: the part. It was 3.\n- Verdict: agrees.\n"
    )


def test_no_results_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no result of a paper: paper-NAME\.json"):
        as_page(tmp_path)


@pytest.mark.skipif(not any(RESULTS.glob("*.json")), reason="there is no result")
def test_the_kept_page_is_written_from_the_results(tmp_path):
    for path in RESULTS.glob("*.json"):
        shutil.copy(path, tmp_path)
    main(str(tmp_path))
    assert (tmp_path / "README.md").read_text() == (RESULTS / "README.md").read_text()
