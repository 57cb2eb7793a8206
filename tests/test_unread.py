"""A number that nobody has read: a float in all but that reading it is seen."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tinygrad_norm import Tensor, capture, launch
from tinygrad_norm.checks import POSITIVE, check_number
from tinygrad_norm.unread import Unread, number


def largest(x):
    """What a function returns that measures by a launch."""
    return number(np.asarray(launch.launch(np.max, x.raw)), "largest")


READS = {
    "arithmetic": lambda n: n * 2 + 1,
    "reflected": lambda n: 2 - n,
    "a power": lambda n: 2**n,
    "two of them": lambda n: n / n,
    "comparison": lambda n: n > 1,
    "reflected comparison": lambda n: 1 < n,  # noqa: SIM300
    "equality": lambda n: n == 3.0,
    "truth": bool,
    "a float": float,
    "an integer": int,
    "rounding": lambda n: round(n, 1),
    "math": math.isfinite,
    "text": str,
    "formatted": lambda n: f"{n:.2f}",
    "percent": lambda n: "%.1f" % n,  # noqa: UP031
    "a key": lambda n: {n: 1}[n],
    "the largest": lambda n: max(n, 1.0),
    "a sum": lambda n: sum([n, n]),
    "an array": lambda n: np.asarray(n).tolist(),
    "NumPy": lambda n: bool(np.isfinite(n)),
    "a tensor": lambda n: (Tensor([2.0]) * n).item(),
    "a check": lambda n: check_number("n", n, POSITIVE),
    "json": lambda n: json.dumps(float(n)),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_whoever_reads_it_gets_what_a_float_gives_and_there_is_no_plan(read):
    fast = capture(lambda x: (read(largest(x)), x + 1))
    for value in (3.0, 5.0, 5.0):
        found, _ = fast(Tensor([1.0, value]))
        assert found == read(value)
    assert not fast.plans
    assert "largest reads elements" in fast.why


def test_nobody_reads_it_or_it_is_returned():
    fast = capture(lambda x: {"y": x + 1, "n": [largest(x), 2]})
    for value in (1.0, 4.0, math.nan, -2.0, math.inf):
        found = fast(Tensor([-9.0, value]))
        assert type(found["n"][0]) is float
        np.testing.assert_equal(found["n"], [value, 2])
    assert fast.why == ""


def test_it_is_a_float_where_no_plan_is_recorded():
    assert type(number(np.asarray(2.5, np.float32), "it")) is float
    assert largest(Tensor([1.0, 2.0])) == 2.0
    assert type(float(Unread(np.asarray(1.5), "it"))) is float
