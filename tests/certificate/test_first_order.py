"""First derivatives that are wrong only in another layout, for some inputs, when repeated, or at size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.certificate.wrong_ops import failed
from tinygrad_norm import FusedOp, Op, Tensor
from tinygrad_norm.certificate import certify
from tinygrad_norm.certificate.comparisons import FLOAT32, LARGER, OTHER_LAYOUTS, REPEATED, SOME


class Square(FusedOp):
    def composed(self, x: Tensor) -> Tensor:
        return x * x

    def forward(self, x: Any) -> Any:
        return x * x

    def gradient(self, grad: Any, x: Any) -> Any:
        return (2 * grad * x,)


class InMemoryOrder(Square):
    """Wrong where the gradient's memory has another order than C's."""

    def gradient(self, grad: Any, x: Any) -> Any:
        return ((2 * grad.ravel(order="K") * x.ravel()).reshape(x.shape),)


class InOrderOfInput(Square):
    """Wrong where both have another order than C's."""

    def gradient(self, grad: Any, x: Any) -> Any:
        return (2 * (grad.ravel(order="K") * x.ravel(order="K")).reshape(x.shape),)


class Doubled(Square):
    """Doubles the array that it was given, which others may hold."""

    def composed(self, x: Tensor) -> Tensor:
        return x * 2.0

    def forward(self, x: Any) -> Any:
        return x * 2

    def gradient(self, grad: Any, x: Any) -> Any:
        grad *= 2
        return (grad,)


class Spoiling(FusedOp):
    """Writes into what it saved."""

    def composed(self, x: Tensor) -> Tensor:
        return x * x

    def forward(self, x: Any) -> Any:
        self.save(np.ones(1))
        return x * x

    def gradient(self, grad: Any, x: Any, factor: Any) -> Any:
        found = 2 * grad * x * factor
        factor *= 2
        return (found,)


class Remainder(Square):
    """Leaves out what does not fill a vector, from 17 columns on."""

    def gradient(self, grad: Any, x: Any) -> Any:
        found = 2 * grad * x
        found[..., 16:] = 0
        return (found,)


class Exact(Op):
    """An op without a composition."""

    def forward(self, x: Any) -> Any:
        self.save(x)
        return x * x

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        found: Tensor = 2 * x * grad
        return found


class Wide(Exact):
    """Wrong from 17 columns on."""

    def backward(self, grad: Tensor) -> Tensor:
        return super().backward(grad if grad.shape[-1] < 17 else 1.001 * grad)


class Product(FusedOp):
    """Wrong unless both inputs want a gradient."""

    def composed(self, x: Tensor, weight: Tensor) -> Tensor:
        return x * weight

    def forward(self, x: Any, weight: Any) -> Any:
        return x * weight

    def gradient(self, grad: Any, x: Any, weight: Any) -> Any:
        scale = 1 if all(self.needs_input_grad) else 3
        return scale * grad * weight, (scale * grad * x).reshape(-1, len(weight)).sum(axis=0)


@pytest.mark.parametrize(
    ("kind", "shapes", "row", "message"),
    [
        (InMemoryOrder, [(3, 4)], OTHER_LAYOUTS, "in Fortran order: at "),
        (InOrderOfInput, [(2, 3, 4)], OTHER_LAYOUTS, "inputs and cotangent channels last: at "),
        (Product, [(3, 4), (4,)], SOME, "derivative 1 of input 0, wanted alone: at "),
        (Doubled, [(3, 4)], REPEATED, "Doubled changed the gradient that it was given"),
        (Spoiling, [(3, 4)], REPEATED, "derivative 1 of input 0, the second way back: at "),
        (Remainder, [(3, 4)], LARGER, "derivative 1 of wanted input 0: at "),
        (Wide, [(3, 4)], LARGER, "the slope in a random direction: at "),
    ],
)
def test_a_gradient_wrong_in_one_such_way_fails_in_that_row(kind, shapes, row, message):
    certificate = certify(kind, *shapes)
    assert not certificate
    assert message in failed(certificate)[row]
    assert failed(certificate).keys() <= {row, OTHER_LAYOUTS, FLOAT32}, str(
        certificate
    )  # which see larger inputs as well


@pytest.mark.parametrize("kind", [Square, Exact])
def test_the_right_one_passes(kind):
    certificate = certify(kind, (3, 4))
    assert certificate.ok, str(certificate)
    assert {OTHER_LAYOUTS, REPEATED, LARGER} <= {check.name for check in certificate.checks}
    assert (certificate.sizes, certificate.larger) == (["3×4"], ["259×260"])
