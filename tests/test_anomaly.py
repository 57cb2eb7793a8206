"""Anomaly mode: the first NaN, by op, module and line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_norm
from tinygrad_norm import AnomalyError, FusedOp, Op, Tensor, composed, detect_anomaly, grad, nn, ops


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


class Roots(nn.Module):
    """√x - 1, of which a negative x makes NaN, and whose gradient at 0 is 0 times infinity."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt() - 1.0


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Identity(), Roots())

    def forward(self, x: Tensor) -> Any:
        return self.layers(x)


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def line_of(function: Callable[..., Any], text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


def test_forward_names_the_op_its_module_and_its_line():
    with detect_anomaly(), pytest.raises(AnomalyError) as caught:
        Model()(leaf(4.0, -1.0))
    message = str(caught.value)
    assert message.startswith(
        "Sqrt in layers.1: its output of shape (2,) has NaN, its inputs have none\nIt was created"
    )
    assert f'File "{__file__}", line {line_of(Roots, "x.sqrt()")}, in forward\n    return x.sqrt() - 1.0' in message


def test_backward_names_the_op_its_module_and_the_line_of_its_forward():
    with detect_anomaly():
        y = (Model()(leaf(4.0, 0.0)) * 0.0).sum()
        with pytest.raises(AnomalyError) as caught:
            y.backward()
    message = str(caught.value)
    assert message.startswith(
        "Sqrt in layers.1: its backward made NaN in the gradient of input 0, out of arrays without"
    )
    assert f"line {line_of(Roots, 'x.sqrt()')}, in forward" in message
    assert "y.backward()" not in message


def test_backward_of_what_ran_before_says_that_its_place_is_unknown():
    y = (leaf(0.0).sqrt() * 0.0).sum()
    with detect_anomaly(), pytest.raises(AnomalyError, match=r"^Sqrt: .*\n.*before detect_anomaly\(\) began"):
        y.backward()


def test_a_recorded_way_back_is_judged_by_the_op_it_belongs_to():
    x = leaf(0.0, 1.0)
    with detect_anomaly(), pytest.raises(AnomalyError, match=r"^Sqrt: its backward made NaN"):
        grad((x.sqrt() * 0.0).sum(), x, create_graph=True)


class FusedRoot(FusedOp):
    """√x, whose composition runs a walk of its own when the way back is recorded."""

    def composed(self, x: Tensor) -> Tensor:
        return x.sqrt()

    def forward(self, x: Any) -> Any:
        return np.sqrt(x)

    def gradient(self, grad: Any, x: Any) -> Any:
        return (grad / (2 * np.sqrt(x)),)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_fused_op_is_named_and_not_what_it_is_composed_of(create_graph):
    x = leaf(0.0, 1.0)
    with detect_anomaly(), pytest.raises(AnomalyError, match=r"^FusedRoot: .*\n.*created here"):
        grad((FusedRoot()(x) * 0.0).sum(), x, create_graph=create_graph)


def test_a_composed_op_is_named_by_its_primitive():
    with composed(), detect_anomaly(), pytest.raises(AnomalyError, match=r"^Sqrt: its output"):
        FusedRoot()(leaf(-1.0))


def test_a_nan_that_backward_hides_again_is_none():
    class Guarded(Op):
        """log x, with 0 for its gradient at 0: by way of 0/0, which is not what it returns."""

        def forward(self, x: Any) -> Any:
            self.save(x)
            return np.where(x > 0, np.log(np.where(x > 0, x, 1)), 0)

        def backward(self, grad: Tensor) -> Tensor:
            (x,) = self.saved
            return ops.where(x > 0, x * grad / (x * x), 0.0)

    x = leaf(0.0, 2.0)
    with detect_anomaly():
        for create_graph in (False, True):
            assert grad(Guarded()(x).sum(), x, create_graph=create_graph)[0].tolist() == [0.0, 0.5]


def test_only_the_op_that_made_the_nan_is_blamed():
    x = leaf(np.nan, 1.0)
    with detect_anomaly():
        y = (x * 2.0).exp()
        y.backward(np.ones(2), retain_graph=True)
        (x * 3.0).backward(np.array([np.nan, 1.0]))
    np.testing.assert_array_equal(np.isnan(x.grad.numpy()), [True, False])


def test_after_an_error_that_was_caught_the_watch_goes_on():
    class Failing(Op):
        def forward(self, x: Any) -> Any:
            return x + 0

        def backward(self, grad: Tensor) -> Tensor:
            raise OverflowError

    with detect_anomaly():
        with pytest.raises(OverflowError):
            Failing()(leaf(1.0)).backward()
        with pytest.raises(AnomalyError, match=r"^Log: "):
            leaf(-1.0).log()


def test_infinity_is_a_number():
    x = leaf(0.0)
    with detect_anomaly():
        assert x.log().item() == -np.inf


def test_integers_lists_and_none_are_looked_at_too():
    with detect_anomaly():
        ops.linear(leaf(1.0, 2.0), Tensor(np.ones((3, 2))), None)
        assert ops.add([1, 2], 3).tolist() == [4, 5]
        with pytest.raises(AnomalyError, match=r"^Divide: "):
            ops.divide([0.0], 0)


def test_off_it_says_nothing():
    x = leaf(0.0, 4.0)
    y = (Model()(x) * 0.0).sum()
    y.backward()
    assert np.isnan(x.grad.numpy()[0])
    with detect_anomaly():
        pass
    assert np.isnan((leaf(-1.0).sqrt()).item())


def test_a_program_beside_the_package_is_part_of_the_story():
    """The package's own lines are left out; those of a folder whose name merely begins alike are not."""
    path = f"{tinygrad_norm.__path__[0]}_experiments/run.py"
    program = compile("def run(x):\n    return x.sqrt()\n", path, "exec")
    names: dict[str, Any] = {}
    exec(program, names)
    with detect_anomaly(), pytest.raises(AnomalyError) as caught:
        names["run"](leaf(-1.0))
    assert f'File "{path}", line 2, in run' in str(caught.value)
    assert "elementwise.py" not in str(caught.value)


def test_nan_and_infinity_are_values_and_no_warnings():
    x = Tensor([-1.0, 0.0, 1e4], requires_grad=True)
    y = ops.log(x) + ops.sqrt(x) + ops.exp(x) + 1 / x
    y.backward(np.ones(3, np.float32))
    assert np.isnan(y.numpy()[0])
    with detect_anomaly(), pytest.raises(AnomalyError, match="Log"):
        ops.log(x)
