"""Where a replay finds arrays."""

from __future__ import annotations

import numpy as np

from tinygrad_norm import Tensor
from tinygrad_norm.plan.sources import Grad, Input, Item, Raw, find


def test_each_source_has_the_array_that_is_there_now():
    tensor, held, array = Tensor([1.0], requires_grad=True), {"sum": np.zeros(1)}, np.ones(2)
    given = [tensor, array]
    for _ in range(2):
        tensor.raw, tensor.grad, held["sum"] = np.ones(1), Tensor([2.0]), np.ones(1)
        inputs = [tensor.raw, array]
        assert find(Raw(tensor), inputs, given) is tensor.raw
        assert find(Grad(tensor), inputs, given) is tensor.grad.raw
        assert find(Grad(0), inputs, given) is tensor.grad.raw
        assert find(Item(held, "sum"), inputs, given) is held["sum"]
        assert find(Input(1), inputs, given) is array
