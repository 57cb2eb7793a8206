"""Norms beside the installed PyTorch: the golden cases on other numbers, the functions at drawn shapes, the errors."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, grad, nn, ops

FOLDER = Path(__file__).parents[1] / "nn"
golden = run_path(str(FOLDER / "make_golden.py"))
cases: dict[str, Any] = golden["cases"]
PYTORCH = golden["PYTORCH"]
OURS = SimpleNamespace(
    tensor=Tensor, layer=lambda name, arguments, options, dtype: getattr(nn, name)(*arguments, **options, dtype=dtype)
)


def test_the_stored_cases_are_what_the_script_makes():
    with np.load(FOLDER / "golden" / "normalization.npz") as stored:
        assert set(stored) == {"numbers", *cases["CASES"]}
        for name in cases["CASES"]:
            found = cases["flat"](cases["run"](PYTORCH, name, stored["numbers"]))
            np.testing.assert_allclose(stored[name], found, rtol=1e-10, atol=1e-12)


@given(st.sampled_from(list(cases["CASES"])), st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float64"]))
def test_layers_go_where_pytorchs_go(name, seed, dtype):
    numbers = np.random.default_rng(seed).normal(size=cases["NUMBERS"]).astype(dtype)
    ours, theirs = (cases["run"](library, name, numbers) for library in (OURS, PYTORCH))
    assert ours.keys() == theirs.keys()
    for key, array in theirs.items():
        assert ours[key].dtype == array.dtype
        exact = dtype == "float64"
        scale = max(1.0, float(np.abs(array).max()))
        np.testing.assert_allclose(ours[key] / scale, array / scale, rtol=0, atol=1e-11 if exact else 2e-4, err_msg=key)


@pytest.mark.parametrize("name", cases["CASES"])
def test_the_state_has_the_same_keys_shapes_and_dtypes(name):
    layer, arguments, options, _ = cases["CASES"][name]
    for dtype in (np.float32, np.float64):
        ours, theirs = (library.layer(layer, arguments, options, dtype).state_dict() for library in (OURS, PYTORCH))
        assert list(ours) == list(theirs)
        for key, tensor in theirs.items():
            np.testing.assert_array_equal(ours[key], np.asarray(tensor))
            assert (ours[key].shape, ours[key].dtype) == (tuple(tensor.shape), np.asarray(tensor).dtype)


FUNCTIONS: dict[str, Any] = {
    "training": lambda lib, x, w, b, m, v, eps: lib.batch_norm(x, m, v, w, b, True, 0.3, eps),
    "inference": lambda lib, x, w, b, m, v, eps: lib.batch_norm(x, m, v, w, b, False, 0.3, eps),
    "group": lambda lib, x, w, b, m, v, eps: lib.group_norm(x, 2, w, b, eps),
    "instance": lambda lib, x, w, b, m, v, eps: lib.instance_norm(x, m, v, w, b, True, 0.3, eps),
    "instance inference": lambda lib, x, w, b, m, v, eps: lib.instance_norm(x, m, v, w, b, False, 0.3, eps),
    "layer": lambda lib, x, w, b, m, v, eps: lib.layer_norm(x, (x.shape[-1],), None, None, eps),
    "rms": lambda lib, x, w, b, m, v, eps: lib.rms_norm(x, (x.shape[-1],), None, eps),
}


@given(
    st.sampled_from(list(FUNCTIONS)),
    st.tuples(st.integers(1, 5), st.sampled_from([2, 4, 6]), st.integers(1, 5), st.integers(2, 4)),
    st.sampled_from([1e-5, 0.1]),
    st.integers(0, 2**32 - 1),
)
def test_functions_agree_up_to_the_second_gradient(name, shape, eps, seed):
    rng = np.random.default_rng(seed)
    numbers = [rng.normal(size=shape), rng.normal(size=shape[1]), rng.normal(size=shape[1])]
    running = [rng.normal(size=shape[1]), rng.uniform(0.5, 2, size=shape[1])]
    cotangents = rng.normal(size=shape), rng.normal(size=shape)
    affine = name not in ("layer", "rms")

    def run(lib, tensor, gradient):
        x, weight, bias = (tensor(array, requires_grad=True) for array in numbers)
        mean, var = (tensor(array) for array in running)
        y = FUNCTIONS[name](lib, x, weight, bias, mean, var, eps)
        dy = tensor(cotangents[0], requires_grad=True)
        wanted = [x, weight, bias] if affine else [x]
        first = gradient(y, wanted, dy, create_graph=True)
        mixed = (first[0] * tensor(cotangents[1])).sum()
        second = gradient(mixed, [dy, *wanted[:2]], None, allow_unused=True)
        return [np.zeros(1) if t is None else np.asarray(t.detach()) for t in (y, *first, mean, var, *second)]

    ours, theirs = run(ops, Tensor, grad), run(F, torch.tensor, torch.autograd.grad)
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-7, atol=1e-9 * max(1.0, float(np.abs(its).max())))


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("BatchNorm1D", (3,), (1, 3)),
        ("BatchNorm2D", (3,), (1, 3, 1, 1)),
        ("BatchNorm1D", (3,), (2, 3, 4, 5)),
        ("BatchNorm2D", (3,), (2, 3, 4)),
        ("BatchNorm2D", (3,), (2, 4, 3, 3)),
        ("InstanceNorm2D", (3,), (2, 3, 1, 1)),
        ("InstanceNorm3D", (3,), (2, 3, 1, 1, 1)),
        ("InstanceNorm1D", (3,), (3,)),
        ("LayerNorm", (3,), (2, 4)),
        ("GroupNorm", (2, 4), (4,)),
        ("GroupNorm", (2, 2), (1, 2)),
        ("RMSNorm", (3,), (2, 4)),
    ],
)
def test_what_pytorch_refuses_is_refused(name, arguments, shape):
    with pytest.raises((ValueError, RuntimeError)):
        PYTORCH.layer(name, arguments, {}, np.float32)(torch.ones(shape))
    with pytest.raises(ValueError, match=r"norm|Norm"):
        OURS.layer(name, arguments, {}, np.float32)(np.ones(shape, np.float32))


def test_the_constructors_take_pytorchs_arguments_by_position():
    for name, arguments in {
        "BatchNorm1D": (5, 1e-3, 0.2, False, False),
        "InstanceNorm1D": (5, 1e-3, 0.2, True, True),
        "GroupNorm": (1, 5, 1e-3, False),
        "LayerNorm": (5, 1e-3, True, False),
        "RMSNorm": (5, 1e-3, False),
    }.items():
        ours, theirs = OURS.layer(name, arguments, {}, np.float32), PYTORCH.layer(name, arguments, {}, np.float32)
        assert repr(ours) == repr(theirs).replace(name.replace("D", "d"), name)
