"""The linear layer: NumPy's matrix product, with no temporary array and a bias gradient that sums exactly."""

from __future__ import annotations
