"""Inputs for functions of single elements."""

from __future__ import annotations

import numpy as np

from tinygrad_norm import Tensor


def leaf(array):
    return Tensor(np.asarray(array, np.float64), requires_grad=True)


def positive(rng, shape=(3, 5)):
    return rng.uniform(0.3, 3, size=shape)


def nonzero(rng, shape=(3, 5)):
    return positive(rng, shape) * rng.choice([-1, 1], size=shape)


ARITHMETIC = {  # where the second is smooth, what they are
    "add": (nonzero, np.add),
    "subtract": (nonzero, np.subtract),
    "multiply": (nonzero, np.multiply),
    "divide": (nonzero, np.divide),
    "pow": (nonzero, np.power),
    "maximum": (nonzero, np.maximum),
    "minimum": (nonzero, np.minimum),
}


FLOAT32, FLOAT64, INT64, UINT8, BOOL = (np.ones(3, t) for t in ("float32", "float64", "int64", "uint8", "bool"))
