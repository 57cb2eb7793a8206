"""Whether a definition keeps to the Array API standard: it computes the same on an array module of nothing else."""

from __future__ import annotations

import array_api_strict as xp
import numpy as np


def strict(function, *arguments):
    """The results on arrays of the strict module, as NumPy arrays; None stays None."""

    def convert(value):
        return xp.asarray(value) if isinstance(value, np.ndarray) else value

    results = function(*map(convert, arguments))
    if not isinstance(results, tuple):
        results = (results,)
    assert all(result is None or isinstance(result, type(xp.asarray(0.0))) for result in results)
    return tuple(None if result is None else np.from_dlpack(result) for result in results)


def agree(function, *arguments):
    results = function(*arguments)
    found = strict(function, *arguments)
    for a, b in zip(found, results if isinstance(results, tuple) else (results,), strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
