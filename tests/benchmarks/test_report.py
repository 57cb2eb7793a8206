"""The tables, the ratios and the verdicts."""

from __future__ import annotations

import pytest

from benchmarks.report import Report, fastest, markdown, ratio
from benchmarks.timing import Timing


def test_a_table_is_aligned_in_its_source():
    assert markdown(["", "ms"], [["net", "1.5"], ["a", "12.25"]]).splitlines() == [
        "|     |    ms |",
        "|-----|------:|",
        "| net |   1.5 |",
        "| a   | 12.25 |",
    ]


def test_the_ratio_and_its_spread_are_by_rounds():
    found = ratio(Timing((1.0, 2.0, 6.0)), Timing((2.0, 4.0, 3.0)))
    assert (found.median, found.least) == (0.5, 0.5)
    assert (found.low, found.high) == (0.5, pytest.approx(1.7))


def test_the_ratio_lies_within_its_spread_where_that_of_medians_would_not():
    found = ratio(Timing((1.0, 1.0, 6.0, 9.0, 9.0)), Timing((1.0, 1.0, 2.0, 9.0, 9.0)))
    assert (found.median, found.low, found.high) == (1.0, 1.0, pytest.approx(2.2))  # medians are 6 and 2


def test_the_fastest_form_is_the_one_of_least_median():
    timings = {"ours": Timing((1.0,)), "a": Timing((2.0, 9.0, 9.0)), "b": Timing((3.0, 3.0, 9.0))}
    assert fastest(timings, ["a", "b"]) == "b"


def test_what_is_missed_is_listed(tmp_path, capsys):
    report = Report()
    report.say("## A section")
    for what, value, target, at_least in [
        ("fast", 0.5, 0.5, False),
        ("slow", 0.51, 0.5, False),
        ("threads", 1.7, 1.7, True),
        ("one thread", 1.69, 1.7, True),
    ]:
        report.judge(what, value, target, at_least)
    assert [verdict.what for verdict in report.missed()] == ["slow", "one thread"]
    report.write(tmp_path / "results.md", "python -m benchmarks")
    written = (tmp_path / "results.md").read_text()
    assert written.index("`python -m benchmarks`") < written.index("| one thread |") < written.index("## A section")
    assert written.count("**missed**") == 2
    assert "## A section" in capsys.readouterr().out
