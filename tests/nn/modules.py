"""Modules to look into."""

from __future__ import annotations

import numpy as np

from tinygrad_norm import Tensor, modes, nn


class Scale(nn.Module):
    """x * weight, with a buffer that state_dict holds, one that it does not, and an ordinary tensor."""

    def __init__(self, size: int = 3):
        super().__init__()
        self.weight: nn.Parameter | None = nn.Parameter(np.full(size, 2, np.float32))
        self.bias = None
        self.register_buffer("calls", Tensor(np.array(0)))
        self.register_buffer("cache", Tensor(np.zeros(size, np.float32)), persistent=False)
        self.ordinary = Tensor(np.ones(size))

    def forward(self, x):
        return x * self.weight

    def extra_repr(self):
        return f"size={self.weight.size}"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Scale()
        self.layers = nn.ModuleList([Scale(), nn.Sequential(Scale())])
        self.again = self.first
        self.shift = nn.Parameter(np.zeros(3, np.float32))

    def forward(self, x):
        for layer in (self.first, *self.layers, self.again):
            x = layer(x)
        return x + self.shift


class Scopes(modes.Hook):
    def __init__(self):
        self.found = []

    def after_forward(self, op, inputs, output):
        self.found.append(op.scope)


def scopes(model):
    seen = Scopes()
    with modes.hooks(seen):
        model(Tensor([1.0, 2, 3]))
    return seen.found
