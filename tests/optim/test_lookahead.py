from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import optim
from tinygrad_norm.tensor import Tensor


def test_follows_the_paper(rng):
    """Algorithm 1: k steps of the inner optimizer from the slow weights, then a part of the way to where they led."""
    k, alpha, lr = 3, 0.25, 0.1
    slow = rng.normal(size=(2, 3))
    weight = Tensor(slow, requires_grad=True)
    optimizer = optim.Lookahead(optim.SGD([weight], lr=lr), k=k, alpha=alpha)
    for _ in range(4):
        fast = slow.copy()
        for step in range(k):
            gradient = rng.normal(size=(2, 3))
            weight.grad = Tensor(gradient)
            optimizer.step()
            fast = fast - lr * gradient
            if step < k - 1:
                np.testing.assert_allclose(weight.raw, fast, rtol=1e-12)
        slow = slow + alpha * (fast - slow)
        np.testing.assert_allclose(weight.raw, slow, rtol=1e-12)


def test_all_the_way_changes_nothing(rng):
    one, other = (Tensor(np.ones(4), requires_grad=True) for _ in range(2))
    plain, wrapped = optim.Adam([one]), optim.Lookahead(optim.Adam([other]), k=2, alpha=1.0)
    for _ in range(5):
        one.grad = other.grad = Tensor(rng.normal(size=4))
        plain.step()
        wrapped.step()
    np.testing.assert_allclose(other.raw, one.raw, rtol=1e-15)


def test_begins_where_the_first_step_finds_the_weights():
    weight = Tensor([1.0], requires_grad=True)
    optimizer = optim.Lookahead(optim.SGD([weight], lr=1.0), k=1, alpha=0.5)
    weight.raw = np.array([9.0])  # weights loaded after the optimizer was made
    weight.grad = Tensor([2.0])
    optimizer.step()
    assert weight.item() == 8.0


def test_shares_groups_and_state_with_what_it_wraps():
    weight = Tensor([1.0], requires_grad=True)
    inner = optim.SGD([weight], lr=0.5)
    schedule = optim.StepLR(inner, step_size=1, gamma=0.5)
    optimizer = optim.Lookahead(inner, alpha=1.0)
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.25
    optimizer.add_param_group({"params": [Tensor([1.0], requires_grad=True)]})
    assert len(inner.param_groups) == 2
    weight.grad = Tensor([1.0])
    optimizer.step()
    assert weight.item() == 0.75
    optimizer.zero_grad()
    assert weight.grad is None
    assert inner.state[weight]["slow"] == 1.0


def test_a_state_without_slow_weights_is_refused():
    weight = Tensor([1.0], requires_grad=True)
    inner = optim.Adam([weight])
    weight.grad = Tensor([1.0])
    inner.step()
    with pytest.raises(ValueError, match=r"Lookahead\.load_state_dict: .* lacks 'slow'"):
        optim.Lookahead(inner).load_state_dict(inner.state_dict())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ValueError, "k is an integer of at least 1, got 0"),
        ({"k": 2.5}, TypeError, "k is an integer of at least 1, got 2.5"),
        ({"alpha": 0}, ValueError, "alpha is a number above 0 and up to 1, got 0"),
        ({"alpha": 1.5}, ValueError, "alpha is"),
        ({"beta": 1}, TypeError, "Lookahead has no option 'beta'"),
    ],
)
def test_arguments_out_of_range(options, error, message):
    with pytest.raises(error, match=message):
        optim.Lookahead(optim.SGD([Tensor([1.0], requires_grad=True)]), **options)


def test_wraps_an_optimizer():
    with pytest.raises(TypeError, match=r"Lookahead: optimizer is one, such as SGD\(...\), got list"):
        optim.Lookahead([Tensor([1.0], requires_grad=True)])  # type: ignore[arg-type]


def test_the_fifth_step_goes_half_of_the_way_if_nothing_is_said():
    weight = Tensor([0.0], requires_grad=True)
    optimizer = optim.Lookahead(optim.SGD([weight], lr=1.0))
    for expected in (-1, -2, -3, -4, -2.5, -3.5):
        weight.grad = Tensor([1.0])
        optimizer.step()
        assert weight.item() == expected


def test_options_that_are_changed_are_checked_as_by_what_it_wraps():
    weight = Tensor([0.0], requires_grad=True)
    inner = optim.SGD([weight], lr=1.0, momentum=0.5, nesterov=True)
    optimizer = optim.Lookahead(inner)
    weight.grad = Tensor([1.0])
    inner.param_groups[0]["momentum"] = 0.0
    with pytest.raises(ValueError, match="nesterov=True needs momentum above 0"):
        optimizer.step()
