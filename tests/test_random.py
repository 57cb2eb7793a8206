from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import random


def test_a_seed_restarts_the_one_generator():
    generator = random.manual_seed(7)
    first = generator.normal(size=5)
    assert random.manual_seed(7) is random.generator() is generator
    np.testing.assert_array_equal(generator.normal(size=5), first)
    random.manual_seed(8)
    assert not np.array_equal(generator.normal(size=5), first)


def test_a_seed_gives_the_stream_of_numpys_default_generator():
    random.manual_seed(np.int64(3))
    np.testing.assert_array_equal(random.generator().random(4), np.random.default_rng(3).random(4))


@pytest.mark.parametrize("seed", [1.5, "3", None, True])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(TypeError, match="seed is an integer"):
        random.manual_seed(seed)


def test_a_seed_is_not_negative():
    with pytest.raises(ValueError, match="at least 0, got -1"):
        random.manual_seed(-1)


def test_the_state_goes_through_json_and_continues_the_stream():
    random.generator().integers(10, dtype=np.uint32)  # leaves half of a 64-bit draw behind
    state = json.loads(json.dumps(random.state_dict()))
    expected = random.generator().integers(1000, size=5, dtype=np.uint32)
    random.load_state_dict(state)
    np.testing.assert_array_equal(random.generator().integers(1000, size=5, dtype=np.uint32), expected)


def test_a_state_is_a_copy():
    state = random.state_dict()
    state["state"]["state"] = 5
    assert random.state_dict() != state


@pytest.mark.parametrize(
    "damage",
    [
        {"bit_generator": "MT19937"},
        {"state": {"state": -1, "inc": 3}},
        {"state": {"state": 1.5, "inc": 3}},
        {"state": {"inc": 3}},
        {"uinteger": 2**40},
        {"has_uint32": "no"},
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage):
    before = random.state_dict()
    with pytest.raises(ValueError, match="not the state of a PCG64"):
        random.load_state_dict({**before, **damage})
    assert random.state_dict() == before


def test_what_is_no_mapping_is_refused():
    number: Any = 5
    with pytest.raises(ValueError, match="not the state of a PCG64"):
        random.load_state_dict(number)
