"""MNIST-1D, as the package `mnist1d` generates it, without a network.

Source: S. Greydanus and D. Kobak, Scaling Down Deep Learning with MNIST-1D, 2020; the package is Apache 2.0.
"""

from __future__ import annotations

import random
from functools import cache

import numpy as np

from tinygrad_norm.data import ArrayDataset


@cache
def mnist1d(samples: int = 5000) -> tuple[ArrayDataset, ArrayDataset]:
    """Return training and test signals, four fifths and one: (N, 40) of float32, and labels (N,) of int64.

    They are always the same for one number of samples, standardized as a whole by the package. Its generator reseeds
    the global ones of Python and NumPy, which are put back.

    Raises:
        ImportError: the package is not installed, or lacks something.
    """
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise ImportError('MNIST-1D needs mnist1d: pip install "tinygrad-norm[mnist1d]"', name=error.name) from error
    wanted, states = get_dataset_args(), (random.getstate(), np.random.get_state())
    wanted.num_samples = samples
    try:
        made = make_dataset(wanted)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    names = tuple("0123456789")
    return (
        ArrayDataset(made["x"].astype(np.float32), made["y"].astype(np.int64), names),
        ArrayDataset(made["x_test"].astype(np.float32), made["y_test"].astype(np.int64), names),
    )
