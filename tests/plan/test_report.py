"""A plan for people to read."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, capture, nn, no_grad


def recorded():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    fast, x = capture(model), Tensor(np.ones((2, 6), np.float32))
    with no_grad():
        fast(x)
    return fast, x


def test_a_plan_is_a_table_of_its_launches():
    fast, _ = recorded()
    text = str(fast.plan)
    head, names, *lines = text.splitlines()
    assert head == f"plan of {len(fast.plan.steps)} launches in {fast.plan.memory():,} bytes of its own"
    assert names.split() == ["module", "launch", "arrays", "bytes"]
    assert len(lines) == len(fast.plan.steps)
    assert any(line.split()[1] == "2" for line in lines)  # the last layer's
    assert repr(fast.plan) == f"<{head}>"


def test_a_profile_has_the_time_of_each_launch():
    fast, x = recorded()
    with no_grad():
        _, names, *lines = fast.profile(x).splitlines()
    assert names.endswith("µs")
    assert all(float(line.split()[-1]) > 0 for line in lines)
    assert sum(fast.plan.seconds) > 0


def test_what_is_eager_has_no_profile():
    fast = capture(lambda x: x * x.sum().item())
    with pytest.raises(RuntimeError, match=r"the call was no replay: item\(\) reads elements"):
        fast.profile(Tensor([1.0]))
