from __future__ import annotations

import random
import sys

import numpy as np
import pytest

from tinygrad_norm.experiments.papers.mnist1d import mnist1d


def test_shapes_types_and_classes():
    train, test = mnist1d(100)
    assert (train.inputs.shape, test.inputs.shape) == ((80, 40), (20, 40))
    assert (train.inputs.dtype, train.targets.dtype) == (np.float32, np.int64)
    assert train.num_classes == 10
    both = np.concatenate([train.inputs, test.inputs])
    np.testing.assert_allclose([both.mean(), both.std()], [0, 1], atol=1e-5)


def test_global_generators_go_on_where_they_were():
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    mnist1d.__wrapped__(50)
    assert (random.random(), np.random.random()) == expected


def test_a_missing_package_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(ImportError, match=r'MNIST-1D needs mnist1d: pip install "tinygrad-norm\[mnist1d\]"'):
        mnist1d.__wrapped__(50)
