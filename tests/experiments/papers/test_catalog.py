from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tinygrad_norm.experiments.papers.catalog import PAPERS
from tinygrad_norm.experiments.report import Measurements

RESULTS = Path(__file__).parents[3] / "docs" / "papers"


@pytest.mark.parametrize("name", PAPERS)
def test_each_says_which_paper_it_is(name):
    paper = PAPERS[name].PAPER
    assert 2015 <= paper.year <= 2026
    assert paper.authors
    assert re.fullmatch(r"[A-Z].*\.", paper.claim)
    assert re.search(r"\d.*\.$", paper.number)  # a number, and a sentence
    assert not {"|", "\n"} & set(paper.claim + paper.number)  # they are cells of a table
    assert len(PAPERS[name].FULL.seeds) >= 3


@pytest.mark.parametrize("name", PAPERS)
def test_the_kept_report_says_what_its_figures_say(name):
    result = Measurements(json.loads((RESULTS / f"paper-{name}.json").read_text(encoding="utf-8")))
    page = (RESULTS / f"paper-{name}.md").read_text(encoding="utf-8")
    story = PAPERS[name].tell(result)
    assert [sentence for sentence in [*story.summary, story.how] if sentence not in page] == []
    for file in RESULTS.glob(f"paper-{name}.*"):
        assert file.stat().st_size < 200_000
