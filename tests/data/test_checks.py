from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.data.checks import whole_number


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_integers_of_any_kind_become_int(value):
    number = whole_number("count", value, 3)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize("value", [3.0, "3", None, True, np.True_, np.float32(3)])
def test_anything_else_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"count must be an integer of at least 1, got .*\("):
        whole_number("count", value, 1)


def test_too_small_a_value_names_the_bound():
    with pytest.raises(ValueError, match="count must be at least 3, got 2"):
        whole_number("count", 2, 3)
