from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, optim
from tinygrad_norm.optim.options import check_option


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("lr", 1, 1.0),
        ("lr", 0, 0.0),
        ("eps", np.float32(0.5), 0.5),
        ("momentum", 1, 1.0),
        ("dampening", -3, -3.0),
        ("betas", [0, 0.5], (0.0, 0.5)),
        ("nesterov", True, True),
    ],
)
def test_what_is_allowed_comes_back_as_pythons_own(name, value, found):
    checked = check_option(name, value)
    assert checked == found
    assert type(checked) is type(found)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", float("nan"), "lr is a finite number of at least 0, got nan"),
        ("lr", float("inf"), "lr is a finite number of at least 0, got inf"),
        ("lr", 10**400, "lr is a finite number of at least 0, got an integer of about 401 digits, beyond all floats"),
        ("initial_lr", -1, "initial_lr is"),
        ("weight_decay", -0.1, "weight_decay is a finite number of at least 0, got -0.1"),
        ("momentum", 1.01, "momentum is a number from 0 to 1, got 1.01"),
        ("alpha", -0.01, "alpha is a number from 0 to 1"),
        ("dampening", float("inf"), "dampening is a finite number"),
    ],
)
def test_out_of_range(name, value, message):
    with pytest.raises(ValueError, match=message):
        check_option(name, value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", "0.1", r"lr is a finite number of at least 0, got '0.1' \(str\)"),
        ("lr", True, "got True"),
        ("lr", None, "got None"),
        ("betas", 0.9, "betas are two numbers, such as"),
        ("betas", (0.9,), "betas are two numbers"),
        ("betas", (0.9, "0.9"), r"betas\[1\] is"),
        ("amsgrad", 1, "amsgrad is True or False, got 1"),
    ],
)
def test_of_another_type(name, value, message):
    with pytest.raises(TypeError, match=message):
        check_option(name, value)


@pytest.mark.parametrize("betas", [(1.0, 0.5), (0.5, 1.0), (-0.1, 0.5), (0.5, float("nan"))])
def test_betas_are_at_least_0_and_below_1(betas):
    with pytest.raises(ValueError, match=r"betas\[[01]\] is a number of at least 0 and below 1, got"):
        check_option("betas", betas)
    assert check_option("betas", (0, 0.0)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("lr", (0, 9)), ("eps", (0, 9)), ("weight_decay", (0, 9)), ("momentum", (0, 1)), ("alpha", (0, 1))],
)
def test_the_ends_of_a_range_belong_to_it(name, allowed):
    assert [check_option(name, value) for value in allowed] == [float(value) for value in allowed]


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (optim.SGD, {"lr": 1e-3, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False}),
        (optim.Adam, {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False}),
        (optim.AdamW, {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2, "amsgrad": False}),
        (optim.RMSprop, {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0, "momentum": 0, "centered": False}),
    ],
)
def test_defaults_are_pytorchs(optimizer, expected):
    (group,) = optimizer([Tensor([1.0], requires_grad=True)]).param_groups
    assert {name: value for name, value in group.items() if name != "params"} == {**expected, "maximize": False}
