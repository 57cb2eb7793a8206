"""DLPack with PyTorch: the same memory, both ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tinygrad_norm import Tensor, from_dlpack


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_pytorch_reads_a_tensors_memory(dtype):
    x = Tensor(np.zeros((2, 3)), dtype=dtype)
    theirs = torch.from_dlpack(x.T)
    assert (theirs.shape, str(theirs.dtype)) == ((3, 2), f"torch.{dtype}")
    x.data[1, 2] = 1
    assert theirs[2, 1] == 1
    theirs[0, 1] = 1
    assert x[1, 0].item() == 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_a_tensor_reads_pytorchs_memory(dtype):
    theirs = torch.zeros(2, 3, dtype=getattr(torch, dtype))
    x = from_dlpack(theirs.T)
    assert (x.shape, x.dtype, x.requires_grad) == ((3, 2), np.dtype(dtype), False)
    theirs[1, 2] = 1
    assert x[2, 1].item() == 1


def test_the_memory_outlives_its_first_owner():
    x = from_dlpack(torch.arange(4.0))
    assert x.tolist() == [0, 1, 2, 3]
    theirs = torch.from_dlpack(Tensor([1.0, 2.0]))
    assert theirs.tolist() == [1, 2]


def test_a_write_from_pytorch_into_what_the_tape_saved_is_refused():
    theirs = torch.ones(3)
    x = from_dlpack(theirs).requires_grad_()
    y = (x * x).sum()
    theirs[0] = 5
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_gradients_and_other_dtypes_are_refused():
    with pytest.raises(BufferError, match=r"use tensor.detach\(\) first"):
        torch.from_dlpack(Tensor([1.0], requires_grad=True))
    with pytest.raises(TypeError, match="float16 is not supported"):
        from_dlpack(torch.zeros(2, dtype=torch.float16))
