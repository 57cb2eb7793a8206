"""States of optimizers: saved, loaded, gone on from, and refused whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.optim.optimizers import EVERY, draw, run, values
from tinygrad_norm import optim
from tinygrad_norm.tensor import Tensor


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("name", EVERY)
def test_goes_on_from_a_saved_state_bit_for_bit(name, weight, bias):
    whole = EVERY[name]([Tensor(weight.raw, True), Tensor(bias.raw, True)])
    gradients = draw(whole, 10)
    gradients[1][1] = gradients[6][1] = None
    run(whole, gradients)

    first = EVERY[name]([weight, bias])
    run(first, gradients[:4])
    saved = through_json(first.state_dict())
    then = EVERY[name]([Tensor(weight.raw, True), Tensor(bias.raw, True)])
    then.load_state_dict(saved)
    run(then, gradients[4:])
    for now, expected in zip(values(then), values(whole), strict=True):
        np.testing.assert_array_equal(now, expected)


def through_json(state_dict):
    """As a checkpoint would hold it, with text for the numbers of the parameters and lists for tuples."""
    return json.loads(json.dumps(state_dict, default=lambda array: array.tolist()))


def test_state_has_pytorchs_layout(weight, bias):
    optimizer = optim.Adam([{"params": [weight]}, {"params": [bias], "lr": 0.5}])
    run(optimizer, [[None, np.ones(5)]])
    saved = optimizer.state_dict()
    assert list(saved) == ["state", "param_groups"]
    assert list(saved["state"]) == [1]
    assert list(saved["state"][1]) == ["step", "exp_avg", "exp_avg_sq"]
    assert [group["params"] for group in saved["param_groups"]] == [[0], [1]]
    assert saved["param_groups"][1]["lr"] == 0.5
    assert saved["param_groups"][0]["betas"] == (0.9, 0.999)


def test_saved_and_loaded_arrays_are_copies(weight):
    optimizer = optim.SGD([weight], momentum=0.9)
    run(optimizer, draw(optimizer, 1))
    saved = optimizer.state_dict()
    kept = saved["state"][0]["momentum_buffer"].copy()
    run(optimizer, draw(optimizer, 1, seed=1))
    np.testing.assert_array_equal(saved["state"][0]["momentum_buffer"], kept)
    optimizer.load_state_dict(saved)
    run(optimizer, draw(optimizer, 1, seed=1))
    np.testing.assert_array_equal(saved["state"][0]["momentum_buffer"], kept)


def test_loading_brings_options_and_forgets_what_was(weight, bias):
    optimizer = optim.SGD([weight, bias], lr=0.1, momentum=0.9)
    empty = optimizer.state_dict()
    run(optimizer, draw(optimizer, 2))
    group = optimizer.param_groups[0]
    optimizer.load_state_dict({**empty, "param_groups": [{**empty["param_groups"][0], "lr": 3}]})
    assert optimizer.state == {}
    assert group is optimizer.param_groups[0]
    assert group["lr"] == 3.0
    assert group["params"] == [weight, bias]


def change(path, value):
    """A function that sets (or with `...` deletes) one place of a nested dict."""

    def apply(state):
        *way, last = path
        for step in way:
            state = state[step]
        if value is ...:
            del state[last]
        else:
            state[last] = value

    return apply


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change(["state"], ...), "the state lacks 'state'; it has"),
        (change(["param_groups"], []), "has 0 parameter groups, this optimizer 1"),
        (change(["param_groups", 0, "params"], [0]), "group 0 has 1 parameters, not the 2 numbered from 0"),
        (change(["param_groups", 0, "params"], [0, 0]), "group 0 has 2 parameters, not the 2 numbered"),
        (change(["param_groups", 0, "amsgrad"], ...), "group 0 lacks 'amsgrad'"),
        (change(["param_groups", 0, "params"], ...), "group 0 lacks 'params'"),
        (change(["param_groups", 0, "momentum"], 0.9), "group 0 has 'momentum', which is not known"),
        (change(["param_groups", 0, "lr"], float("nan")), "lr is a finite number of at least 0, got nan"),
        (change(["param_groups", 0, "betas"], [0.9]), "betas are two numbers"),
        (change(["state", 2], {"step": 1}), "a state for parameter 2, which is in no group"),
        (change(["state", 0, "exp_avg"], ...), "the state of parameter 0 of group 0 lacks 'exp_avg'"),
        (change(["param_groups", 0, "amsgrad"], True), "parameter 0 of group 0 lacks 'max_exp_avg_sq'"),
        (change(["state", 1, "step"], ...), "lacks 'step'"),
        (change(["state", 1, "step"], -1), "parameter 1 of group 0.step is an integer of at least 0, got -1"),
        (change(["state", 1, "step"], 1.5), "parameter 1 of group 0.step is an integer of at least 0, got 1.5"),
        (change(["state", 1, "square_avg"], np.zeros(5)), "has 'square_avg', which is not known"),
        (change(["state", 1, "exp_avg"], np.zeros(4)), r"floating point of shape \(5,\), got float64 of shape \(4,\)"),
        (change(["state", 1, "exp_avg"], np.zeros(5, np.int64)), "'exp_avg' .* got int64"),
    ],
)
def test_a_state_for_something_else_is_refused_whole(weight, bias, spoil, message):
    optimizer = optim.Adam([weight, bias])
    run(optimizer, draw(optimizer, 2))
    spoilt = optimizer.state_dict()
    spoilt["param_groups"][0]["lr"] = 77.0
    spoilt["state"][0]["exp_avg"] = np.full((3, 2), 77.0)
    spoil(spoilt)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(spoilt)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert optimizer.param_groups[0]["params"] == [weight, bias]
    assert (optimizer.state[weight]["exp_avg"] != 77).all()


def test_a_state_beyond_the_parameters_dtype_is_refused():
    def adam(dtype):
        parameter = Tensor(np.ones(2, dtype), requires_grad=True)
        parameter.grad = Tensor(np.array([1.0, 2.0], dtype))
        optimizer = optim.Adam([parameter])
        optimizer.step()
        return optimizer, parameter

    (large, _), (optimizer, parameter) = adam(np.float64), adam(np.float32)
    state = large.state_dict()
    state["state"][0]["exp_avg_sq"][1] = 1e60
    with pytest.raises(
        ValueError, match=r"'exp_avg_sq' of parameter 0 of group 0 holds 1e\+60, which is beyond float32"
    ):
        optimizer.load_state_dict(state)
    assert optimizer.state[parameter]["exp_avg_sq"][1] < 1
    large.load_state_dict(state)
    (converted,) = large.param_groups[0]["params"]
    converted.raw = converted.raw.astype(np.float32)
    with pytest.raises(
        ValueError, match=r"exp_avg_sq of a parameter of shape \(2,\) holds 1e\+60, which is beyond float32"
    ):
        large.step()


def test_everything_that_a_state_lacks_is_named(weight, bias):
    optimizer = optim.Adam([weight, bias])
    run(optimizer, draw(optimizer, 1))
    spoilt = optimizer.state_dict()
    del spoilt["state"][1]["exp_avg"], spoilt["state"][1]["step"]
    words = r"Adam\.load_state_dict: the state of parameter 1 of group 0 lacks 'step', 'exp_avg'; it has"
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_dict(spoilt)


@pytest.mark.parametrize("name", EVERY)
def test_the_state_follows_a_parameter_that_was_converted(name):
    def converted(at):
        parameter = Tensor([1.0, -2.0, 0.3], requires_grad=True, dtype=np.float32)
        optimizer = EVERY[name]([parameter])
        for step, gradients in enumerate(draw(optimizer, 4)):
            if step == at:
                parameter.raw = parameter.raw.astype(np.float64)
            run(optimizer, [gradients])
        return parameter.raw, optimizer.state[parameter]

    found, state = converted(1)
    kept = {key: value.dtype for key, value in state.items() if key != "step"}
    assert kept == dict.fromkeys(kept, np.dtype(np.float64))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, converted(0)[0], rtol=1e-5)
