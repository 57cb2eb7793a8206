from __future__ import annotations

import json

import numpy as np
import pytest

from tinygrad_norm.training.logs import append_jsonl, strict_json


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_each_record_is_one_strict_line(tmp_path):
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"loss": float("nan"), "worst": [float("inf"), -np.float32(np.inf)], "note": "two\nlines"})
    append_jsonl(path, {"loss": np.float32(0.25), "counts": np.arange(3), "epoch": np.int64(2), "done": True})
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line, parse_constant=refuse) for line in lines] == [
        {"loss": "NaN", "worst": ["Infinity", "-Infinity"], "note": "two\nlines"},
        {"loss": 0.25, "counts": [0, 1, 2], "epoch": 2, "done": True},
    ]


def test_a_line_cut_short_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"epoch": 1}\n{"epo')
    append_jsonl(path, {"epoch": 2})
    assert path.read_text().splitlines() == ['{"epoch": 1}', '{"epo', '{"epoch": 2}']


def test_a_record_that_json_cannot_say_writes_nothing(tmp_path):
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"epoch": 1})
    with pytest.raises(TypeError, match="complex"):
        append_jsonl(path, {"epoch": 2, "value": 1j})
    assert path.read_text() == '{"epoch": 1}\n'


def test_strict_json_keeps_the_floats_of_float64():
    assert strict_json({"x": np.float64(0.1)}) == {"x": 0.1}
    assert strict_json((1, None, "a")) == [1, None, "a"]
