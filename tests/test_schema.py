from __future__ import annotations

import json

import numpy as np
import pytest

from tinygrad_norm import schema
from tinygrad_norm.schema import (
    ANYTHING,
    ARRAY,
    AT_LEAST_1,
    COUNT,
    FLAG,
    MAPPING,
    NUMBER,
    TEXT,
    check_form,
    check_json,
    cut_lines,
    optional,
    shorten,
)

FORM = {
    "count": COUNT,
    "history": [{"epoch": AT_LEAST_1, ...: NUMBER}],
    "best": optional(NUMBER),
    "names": {...: TEXT},
}
GOOD = {"count": 0, "history": [{"epoch": 1, "loss": 0.5}, {"epoch": 2}], "best": None, "names": {"a": "b"}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"count": np.int64(5), "best": np.float32(2)},
        {"best": float("nan"), "history": ()},
        {"names": {}, "history": [{"epoch": 1, "accuracy": 1}]},
    ],
)
def test_what_has_the_form_passes(changes):
    check_form(GOOD | changes, FORM, "it")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "it is a dict, got None"),
        ([("count", 1)], r"it is a dict, got \[\('count', 1\)\]"),
        ({"count": 0}, r"it lacks 'history', 'best', 'names'; it has \['count'\]"),
        (GOOD | {"more": 1}, "it has 'more', which is not known; known are 'count', 'history', 'best', 'names'"),
        (GOOD | {"count": -1}, "it.count is an integer of at least 0, got -1"),
        (GOOD | {"count": True}, "it.count is an integer of at least 0, got True"),
        (GOOD | {"count": 1.0}, "it.count is an integer of at least 0, got 1.0"),
        (GOOD | {"count": np.zeros(2)}, r"it.count is an integer of at least 0, got array"),
        (GOOD | {"count": 2**63}, "it.count is an integer of at least 0, got 9223372036854775808"),
        (GOOD | {"history": {}}, "it.history is a list, got {}"),
        (GOOD | {"history": "text"}, "it.history is a list, got 'text'"),
        (GOOD | {"history": [{"epoch": 1}, {"loss": 1}]}, r"it.history.1 lacks 'epoch'; it has \['loss'\]"),
        (GOOD | {"history": [{"epoch": 0}]}, "it.history.0.epoch is an integer of at least 1, got 0"),
        (GOOD | {"history": [{"epoch": 1, "loss": "x"}]}, "it.history.0.loss is a number, got 'x'"),
        (GOOD | {"best": False}, "it.best is a number, or None, got False"),
        (GOOD | {"names": {1: "a"}}, "a key of it.names is text, got 1"),
        (GOOD | {"names": {"a\x1b[2J": 1}}, r"it.names.'a\\x1b\[2J' is text, got 1"),
    ],
)
def test_what_has_not_is_refused_by_its_path(value, message):
    with pytest.raises(ValueError, match=message):
        check_form(value, FORM, "it")


def test_rules_say_what_they_want():
    for rule, good, bad, words in (
        (ARRAY, np.zeros(2), [0, 0], "an array"),
        (FLAG, True, 1, "True or False, got 1"),
        (MAPPING, {1: 2}, [], "a dict"),
        (TEXT, "", b"", "text"),
        (AT_LEAST_1, 1, 0, "at least 1"),
    ):
        check_form(good, rule, "it")
        with pytest.raises(ValueError, match=f"it is .*{words}"):
            check_form(bad, rule, "it")
    check_form(object(), ANYTHING, "it")


def test_a_long_value_is_shown_in_part():
    for value in ("x" * 10**6, list(range(10**6)), 10**4000, {str(n): n for n in range(1000)}, np.zeros(10**6)):
        assert len(shorten(value)) < 200
    with pytest.raises(ValueError, match="it has '") as caught:
        check_form({"a": 1, "x" * 10**6: 1}, {"a": ANYTHING}, "it")
    assert len(str(caught.value)) < 300


def test_a_message_keeps_its_lines_and_none_is_long():
    assert cut_lines("first\n" + "x" * 600 + "\nlast") == "first\n" + "x" * 500 + " ...\nlast"


def test_marks_inside_of_texts_do_not_count(monkeypatch):
    monkeypatch.setattr(schema, "MAX_TOKENS", 20)
    check_json(json.dumps({"a": '"[{,' * 1000, "b\\": ["\\", '\\"'], "c": {}}))
    check_json("[" * 7 + "1,2,3" + "]" * 7)
    with pytest.raises(ValueError, match="more than 20"):
        check_json("[" * 10 + "1,2,3" + "]" * 10)
    check_json(json.dumps("x" * 100)[:-1])  # a text without an end is for the parser to refuse
    check_json('"' + "\\" * 101)


def test_depth_counts_what_is_open(monkeypatch):
    check_json("[" * 100 + "]" * 100)
    check_json("[[],[],{}]" * 200)
    with pytest.raises(ValueError, match="more than 100 deep"):
        check_json("[" * 101 + "]" * 101)


def test_lists_that_were_closed_make_no_room_for_deeper_ones():
    with pytest.raises(ValueError, match="more than 100 deep"):
        check_json("[" + "[]," * 60 + "[" * 101 + "]" * 101 + "]")
