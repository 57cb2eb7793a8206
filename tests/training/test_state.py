from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_norm.training.state import join_state, split_state


def round_trip(state):
    tree, arrays = split_state(state)
    return join_state(json.loads(json.dumps(tree, allow_nan=False)), arrays)


keys = st.text(max_size=5) | st.integers() | st.sampled_from(["$array", "$dict", "a.b", "a"])
states = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(states)
def test_comes_back_with_the_same_values_and_types(state):
    assert repr(round_trip(state)) == repr(state)  # tells 1 from 1.0 and True, 0.0 from -0.0, a tuple from a list


def test_floats_that_json_lacks_come_back():
    assert repr(round_trip([float("nan"), float("inf"), -float("inf")])) == "[nan, inf, -inf]"


def test_state_of_a_generator_comes_back():
    for bits in (np.random.PCG64(3), np.random.MT19937(3)):
        generator = np.random.Generator(bits)
        generator.integers(5, dtype=np.int32)  # half of a 64-bit word stays behind
        again = np.random.Generator(type(bits)())
        again.bit_generator.state = round_trip(bits.state)
        np.testing.assert_array_equal(generator.integers(1000, size=9), again.integers(1000, size=9))


def test_arrays_are_taken_out_under_their_paths():
    tree, arrays = split_state({"a": [1, np.arange(3)], "b": {"c.d": np.float32(0.1)}}, "model")
    assert list(arrays) == ["model.a.1", "model.b.c.d"]
    assert tree == {"a": [1, {"$array": "model.a.1"}], "b": {"c.d": {"$scalar": "model.b.c.d"}}}
    back = join_state(tree, arrays)
    assert repr(back["b"]["c.d"]) == "np.float32(0.1)"
    np.testing.assert_array_equal(back["a"][1], np.arange(3))


def test_paths_that_collide_are_told_apart():
    back = round_trip({"a": {"b": np.array(1)}, "a.b": np.array(2), "a.b#2": np.array(3)})
    assert (back["a"]["b"], back["a.b"], back["a.b#2"]) == (1, 2, 3)


def test_what_is_no_state_is_refused_by_its_path():
    with pytest.raises(TypeError, match=r"optimizer\.groups\.0\.lr is a complex"):
        split_state({"groups": [{"lr": 1j}]}, "optimizer")
