from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import optim
from tinygrad_norm.optim.optimizer import Optimizer
from tinygrad_norm.tensor import Tensor


@pytest.fixture
def weight(rng):
    return Tensor(rng.normal(size=(3, 2)), requires_grad=True)


@pytest.fixture
def bias(rng):
    return Tensor(rng.normal(size=5), requires_grad=True)


EVERY = {
    "SGD": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1),
    "Adam": lambda params: optim.Adam(params, amsgrad=True),
    "AdamW": lambda params: optim.AdamW(params, betas=(0.5, 0.75)),
    "RMSprop": lambda params: optim.RMSprop(params, centered=True, momentum=0.5),
    "Lookahead": lambda params: optim.Lookahead(optim.Adam(params), k=3),
}


OPTIONS = {"lr": 0.5, "betas": (0.5, 0.75), "alpha": 0.5, "eps": 0.25, "weight_decay": 0.125, "momentum": 0.5}
OPTIONS |= {"dampening": 0.0, "amsgrad": True, "centered": True, "nesterov": True, "maximize": True}


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_every_option_given_is_that_of_the_group(make, weight):
    given = {name: OPTIONS[name] for name in inspect.signature(make).parameters if name != "params"}
    (group,) = make([weight], **given).param_groups
    assert {name: group[name] for name in given} == given


def run(optimizer, gradients):
    for step in gradients:
        for parameter, gradient in zip(parameters_of(optimizer), step, strict=True):
            parameter.grad = None if gradient is None else Tensor(gradient)
        optimizer.step()


def parameters_of(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def draw(optimizer, steps, seed=0):
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=parameter.shape) for parameter in parameters_of(optimizer)] for _ in range(steps)]


def values(optimizer):
    return [parameter.raw.copy() for parameter in parameters_of(optimizer)]


# Groups and options


def test_tensors_are_one_group_with_the_defaults(weight, bias):
    (group,) = optim.SGD(iter([weight, bias]), lr=0.5).param_groups
    assert group.pop("params") == [weight, bias]
    assert group == {
        "lr": 0.5,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
    }


def test_a_group_overrides_the_defaults_and_stays_as_it_was_given(weight, bias):
    given = {"params": [bias], "lr": np.float32(0.25)}
    optimizer = optim.SGD([{"params": weight}, given], lr=1)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.25]
    assert all(type(group["lr"]) is float for group in optimizer.param_groups)
    assert given == {"params": [bias], "lr": np.float32(0.25)}
    run(optimizer, [[np.ones((3, 2)), None]])
    before = values(optimizer)
    run(optimizer, [[np.ones((3, 2)), np.ones(5)]])
    after = values(optimizer)
    np.testing.assert_allclose(before[0] - after[0], 1.0)
    np.testing.assert_allclose(before[1] - after[1], 0.25)


def test_options_may_change_between_steps(weight):
    optimizer = optim.SGD([weight], lr=1.0)
    optimizer.param_groups[0]["lr"] = 0.125
    before = weight.raw.copy()
    run(optimizer, [[np.ones((3, 2))]])
    np.testing.assert_allclose(before - weight.raw, 0.125)


def test_a_later_group_is_updated_from_then_on(weight, bias):
    optimizer = optim.Adam([weight])
    run(optimizer, draw(optimizer, 3))
    optimizer.add_param_group({"params": [bias], "lr": 0.5})
    before = bias.raw.copy()
    run(optimizer, [[None, np.full(5, 7.0)]])
    np.testing.assert_allclose(before - bias.raw, 0.5)  # Adam's first step is the learning rate
    assert optimizer.state[weight]["step"] == 3
    assert optimizer.state[bias]["step"] == 1


def test_says_what_it_holds(weight, bias):
    text = repr(optim.RMSprop([{"params": [weight]}, {"params": [bias], "lr": 0.5}], alpha=0.9))
    first, second = text.splitlines()[1:3]
    assert text.startswith("RMSprop(")
    assert "1 parameters" in first
    assert "lr=0.01, alpha=0.9" in first
    assert "lr=0.5" in second


# Steps


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("name", EVERY)
def test_a_parameter_without_gradient_is_left_alone(name, weight, bias):
    optimizer = EVERY[name]([weight, bias])
    before = values(optimizer)
    run(optimizer, [[np.ones((3, 2)), None]])
    after = values(optimizer)
    assert (after[0] != before[0]).all()
    np.testing.assert_array_equal(after[1], before[1])
    assert list(optimizer.state) == [weight]


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("name", EVERY)
def test_neither_gradient_nor_memory_layout_is_touched(name, rng):
    layouts = [rng.normal(size=(4, 3)), rng.normal(size=(3, 4)).T, np.asfortranarray(rng.normal(size=(4, 3)))]
    start = [array.copy() for array in layouts]
    gradient = rng.normal(size=(3, 4)).T
    results = []
    for array, value in zip(layouts, start, strict=True):
        parameter = Tensor(value, requires_grad=True)
        parameter.raw = array
        array[...] = start[0]
        parameter.grad = Tensor.wrap(gradient)
        kept = gradient.copy()
        EVERY[name]([parameter]).step()
        np.testing.assert_array_equal(gradient, kept)
        assert parameter.raw is array
        results.append(array)
    assert (results[0] != start[0]).all()
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("name", EVERY)
def test_a_gradient_of_another_precision_is_converted(name, weight):
    other = Tensor(weight.raw, requires_grad=True)
    gradient = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    for parameter, array in ((weight, gradient), (other, gradient.astype(np.float64))):
        optimizer = EVERY[name]([parameter])
        run(optimizer, [[array]] * 4)
        assert {array.dtype for array in optimizer.state[parameter].values() if isinstance(array, np.ndarray)} == {
            np.dtype(np.float64)
        }
    np.testing.assert_array_equal(weight.raw, other.raw)


def test_a_step_is_noticed_by_a_tape_that_saved_the_parameter(weight):
    loss = (weight * weight).sum()
    weight.grad = Tensor(np.ones((3, 2)))
    optim.SGD([weight]).step()
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()


def test_zero_grad_forgets_the_gradients(weight, bias):
    optimizer = optim.SGD([{"params": [weight]}, {"params": [bias]}])
    run(optimizer, draw(optimizer, 1))
    optimizer.zero_grad()
    assert weight.grad is None
    assert bias.grad is None


def test_minimizes_through_the_tape(weight):
    optimizer = optim.Adam([weight], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        ((weight - 3.0) * (weight - 3.0)).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(weight.raw, 3.0, atol=1e-3)


def test_a_wrong_gradient_stops_the_step_before_anything_changed(weight, bias):
    optimizer = optim.SGD([weight, bias], momentum=0.9)
    before = values(optimizer)
    with pytest.raises(ValueError, match=r"parameter 1 of group 0 has shape \(5,\) and a gradient of shape \(1,\)"):
        run(optimizer, [[np.ones((3, 2)), np.ones(1)]])
    for now, then in zip(values(optimizer), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert optimizer.state == {}


@pytest.mark.parametrize(("option", "value"), [("lr", float("nan")), ("momentum", 2.0), ("nesterov", 1)])
def test_a_wrong_option_stops_the_step_before_anything_changed(weight, bias, option, value):
    optimizer = optim.SGD([{"params": [weight]}, {"params": [bias]}])
    before = values(optimizer)
    optimizer.param_groups[1][option] = value
    with pytest.raises((ValueError, TypeError), match=f"{option} is"):
        run(optimizer, draw(optimizer, 1))
    for now, then in zip(values(optimizer), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_parameter_that_grew_is_not_mixed_with_its_old_state(weight):
    optimizer = optim.Adam([weight])
    run(optimizer, draw(optimizer, 1))
    weight.raw = np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"exp_avg has shape \(3, 2\), but its parameter now has shape \(4, 2\)"):
        run(optimizer, draw(optimizer, 1))


# What is refused


def test_no_parameters(weight):
    used_up = iter([weight])
    optim.SGD(used_up)
    for message, nothing in (("no parameters were given", iter(())), ("a generator that was already used up", used_up)):
        with pytest.raises(ValueError, match=message):
            optim.SGD(nothing)
    with pytest.raises(ValueError, match="parameter group 1 is empty"):
        optim.SGD([{"params": [weight]}, {"params": []}])


def test_the_same_parameter_twice(weight, bias):
    with pytest.raises(ValueError, match="parameter 0 of group 0 and parameter 2 of group 0 are the same tensor"):
        optim.SGD([weight, bias, weight])
    optimizer = optim.SGD([weight])
    with pytest.raises(ValueError, match="parameter 0 of group 0 and parameter 1 of group 1 are the same tensor"):
        optimizer.add_param_group({"params": [bias, weight]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda w: w, TypeError, "a list of tensors, or of groups .* got one Tensor"),
        (lambda w: {"params": [w]}, TypeError, "got one dict"),
        (lambda w: {w}, TypeError, "got one set"),
        (lambda w: 3, TypeError, "got one int"),
        (lambda w: [{"params": {w}}], TypeError, "no fixed order"),
        (lambda w: [w, np.zeros(3)], TypeError, "parameter 1 of group 0 is a Tensor, got ndarray"),
        (lambda w: [("weight", w)], TypeError, "is a Tensor, got tuple; of .* pairs, give the parameters"),
        (lambda w: [w, {"params": [w]}], TypeError, "parameter 1 of group 0 is a Tensor, got dict"),
        (lambda w: [w * 2.0], ValueError, "parameter 0 of group 0 was made by a recorded op"),
        (lambda w: [Tensor([1, 2])], TypeError, "holds int64; only float32 and float64"),
        (lambda w: [{"lr": 0.1}], ValueError, "parameter group 0 has no 'params'"),
        (lambda w: [{"params": [w], "learning_rate": 1}], TypeError, "group 0 has no option 'learning_rate'.*lr\\?"),
        (lambda w: [{"params": [w], "weight_decy": 1}], TypeError, "did you mean weight_decay?"),
        (lambda w: [{"params": [w], "betas": (0, 0)}], TypeError, "no option 'betas'"),
        (lambda w: [{"params": [w], "lr": -1}], ValueError, "lr is a finite number of at least 0, got -1"),
    ],
)
def test_what_is_no_parameter_or_group(weight, make, error, message):
    with pytest.raises(error, match=message):
        optim.SGD(make(weight))


def test_an_unknown_keyword_is_answered_with_the_right_one(weight):
    with pytest.raises(TypeError, match=r"AdamW has no option 'epsilon' .*; did you mean eps\?"):
        optim.AdamW([weight], epsilon=1e-3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"SGD has no option 'foreach' \(it has dampening, lr, .*\)$"):
        optim.SGD([weight], foreach=True)  # type: ignore[call-arg]


def test_a_wrong_spelling_is_answered_with_the_right_one():
    with pytest.raises(AttributeError, match=r"'tinygrad_norm.optim' has no attribute 'Adamw'; did you mean AdamW\?"):
        _ = optim.Adamw  # type: ignore[attr-defined]


def test_a_group_added_is_a_dict(weight, bias):
    with pytest.raises(TypeError, match="a parameter group is a dict with 'params', got list"):
        optim.SGD([weight]).add_param_group([bias])  # type: ignore[arg-type]


# State


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


# One's own


class Signed(Optimizer):
    """Steps of one length, as in Bernstein et al. 2018."""

    def __init__(self, params, **options):
        super().__init__(params, {"lr": 0.5, "maximize": False, **options}, {"seen": None})

    def update(self, parameter, gradient, state, group):
        seen: Any = self.buffer("seen", parameter, state, group)
        seen += 1
        parameter -= group["lr"] * np.sign(gradient)


def test_an_optimizer_of_ones_own_is_a_few_lines(weight):
    optimizer = Signed([weight], lr=0.25)
    before = weight.raw.copy()
    run(optimizer, [[np.full((3, 2), -9.0)]] * 2)
    np.testing.assert_allclose(weight.raw - before, 0.5)
    np.testing.assert_array_equal(optimizer.state_dict()["state"][0]["seen"], np.full((3, 2), 2.0))


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


def test_a_gradient_that_is_an_array_is_refused(weight, bias):
    optimizer = optim.SGD([weight, bias], lr=0.1)
    before = values(optimizer)
    weight.grad, bias.grad = Tensor(np.ones((3, 2))), np.ones(5)
    with pytest.raises(TypeError, match=r"gradient of parameter 1 of group 0 is a Tensor, .* got ndarray"):
        optimizer.step()
    for found, expected in zip(values(optimizer), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_zero_grad_can_leave_zeros(weight, bias):
    optimizer = optim.SGD([weight, bias])
    weight.grad = Tensor(np.ones((3, 2)))
    optimizer.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(weight.grad.numpy(), np.zeros((3, 2)))
    assert bias.grad is None


def test_a_wrong_option_is_noticed_at_any_later_step(weight, bias):
    optimizer = optim.SGD([{"params": [weight]}, {"params": [bias]}], lr=0.1)
    run(optimizer, draw(optimizer, 2))
    before = values(optimizer)
    optimizer.param_groups[1]["lr"] = -1.0
    with pytest.raises(ValueError, match="lr is a finite number of at least 0, got -1"):
        run(optimizer, draw(optimizer, 1))
    for old, new in zip(before, values(optimizer), strict=True):
        np.testing.assert_array_equal(old, new)
    optimizer.param_groups[1]["lr"] = 0.2
    run(optimizer, draw(optimizer, 1))
