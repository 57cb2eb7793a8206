"""What holds for every optimizer: groups, options, steps, and what is refused."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from tests.optim.optimizers import EVERY, draw, run, values
from tinygrad_norm import optim
from tinygrad_norm.optim.optimizer import Optimizer
from tinygrad_norm.tensor import Tensor

OPTIONS = {"lr": 0.5, "betas": (0.5, 0.75), "alpha": 0.5, "eps": 0.25, "weight_decay": 0.125, "momentum": 0.5}
OPTIONS |= {"dampening": 0.0, "amsgrad": True, "centered": True, "nesterov": True, "maximize": True}


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_every_option_given_is_that_of_the_group(make, weight):
    given = {name: OPTIONS[name] for name in inspect.signature(make).parameters if name != "params"}
    (group,) = make([weight], **given).param_groups
    assert {name: group[name] for name in given} == given


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
