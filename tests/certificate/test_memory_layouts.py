"""Memory layouts: the same numbers, in another order or with something in between."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.certificate.memory_layouts import LAYOUTS, broadcast

SHAPES = [(2, 3, 4), (2, 3, 4, 5), (3, 4), (5,), ()]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_numbers_stay(name, shape, rng):
    x = rng.normal(size=shape).astype(np.float32)
    found = LAYOUTS[name](x)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, x)


STRIDES = {  # of a [2, 3, 4] and of a [3, 4], in elements
    "channels last": ((12, 1, 3), (4, 1)),
    "in Fortran order": ((1, 2, 6), (1, 3)),
    "of every second element": ((24, 8, 2), (8, 2)),
    "backwards": ((12, 4, -1), (4, -1)),
}


def test_every_layout_has_other_strides():
    assert STRIDES.keys() == LAYOUTS.keys()
    for name, layout in LAYOUTS.items():
        found = tuple(layout(np.ones(shape)).strides for shape in ((2, 3, 4), (3, 4)))
        assert found == tuple(tuple(8 * step for step in steps) for steps in STRIDES[name])


def test_between_every_second_element_stands_what_is_no_number(rng):
    found = LAYOUTS["of every second element"](rng.normal(size=(3, 4)))
    assert found.base.shape == (3, 8)
    assert np.isnan(found.base[:, 1::2]).all()


def test_one_row_is_broadcast_over_memory_of_one(rng):
    x = rng.normal(size=(3, 2, 4))
    found = broadcast(x)
    assert (found.shape, found.strides[0]) == (x.shape, 0)
    np.testing.assert_array_equal(found, np.stack([x[0]] * 3))
    assert broadcast(x[0, 0, 0].reshape(())).shape == ()
