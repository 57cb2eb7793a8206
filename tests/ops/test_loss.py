from __future__ import annotations
import numpy as np
def test_agrees_with_pytorch(golden):
    np.testing.assert_allclose(*golden, rtol=1e-9, atol=1e-12)
