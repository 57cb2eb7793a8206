from __future__ import annotations

import json

from tinygrad_norm.experiments.report import Measurements, Story, Table, as_json, as_markdown

RESULT = {"experiment": "x", "settings": {"lrs": [0.1, 1.0], "seeds": [0, 1, 2]}, "rows": [{"a": 1}, {"a": None}]}


def test_json_is_whole_with_a_line_for_each_run():
    text = as_json(RESULT)
    assert json.loads(text) == RESULT
    assert text.splitlines()[3:6] == [' "rows": [', '  {"a": 1},', '  {"a": null}']


def test_markdown_has_findings_picture_table_settings_and_command():
    story = Story(["It is so.", "And so."], [Table("Errors", ["lr", "error"], [["0.1", "3 %"]])], "How it was done.")
    page = as_markdown("name", "Is it so?", RESULT, story, "the command", 12.4)
    assert page.startswith("# name\n\nIs it so?\n\n- It is so.\n- And so.\n\n![Is it so?](name.png)\n")
    assert "\n**Errors**\n\n| lr | error |\n| --- | --- |\n| 0.1 | 3 % |\n\nHow it was done.\n" in page
    assert "Settings: lrs 0.1/1.0, seeds 0/1/2." in page
    assert "once in 10 comparisons" in page
    assert "`the command` took 12 s on " in page


def test_rows_are_picked_by_their_values():
    result = Measurements(
        rows=[{"lr": 1, "seed": 0, "loss": 2.0}, {"lr": 1, "seed": 1, "loss": 4.0}, {"lr": 2, "seed": 0}]
    )
    assert result.pick(lr=1, seed=1) == [{"lr": 1, "seed": 1, "loss": 4.0}]
    assert result.spread("loss", lr=1).values == (2.0, 4.0)
