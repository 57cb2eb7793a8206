"""Products of matrices: matmul, einsum, and the linear layer's product with its bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import definitions, kernels
from tinygrad_norm.definitions.activation import Activation
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.ops.activation import ActivationSpec, fusible
from tinygrad_norm.ops.arguments import ShapeDtype, cached, check_dtypes, shape_dtypes_of
from tinygrad_norm.ops.contraction import contract
from tinygrad_norm.ops.reduction import shape_of
from tinygrad_norm.ops.shape import reshape
from tinygrad_norm.tape import FusedOp, Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class MatMul(Op):
    broadcasts = True

    def forward(self, x: Array, y: Array) -> Array:
        self.save(x if self.needs_input_grad[1] else None, y if self.needs_input_grad[0] else None)
        return kernels.of(x).matmul(x, y)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = self.saved
        return grad @ y.mT if self.needs_input_grad[0] else None, x.mT @ grad if self.needs_input_grad[1] else None


class Einsum(Op):
    broadcasts = True

    def forward(self, *operands: Array, inputs: tuple[str, ...], output: str) -> Any:
        self.save(*operands)
        return contract(inputs, output, operands)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return tuple([self._for_operand(i, grad) if need else None for i, need in enumerate(self.needs_input_grad)])

    def _for_operand(self, index: int, grad: Tensor) -> Tensor:
        """An einsum of the gradient with the other operands, whose output are this one's letters.

        A letter that no other has at full length was summed alone: a vector of ones stretches it. A letter that stands
        twice took the diagonal: an identity matrix puts it back.
        """
        operands, inputs, output = self.saved, self.params["inputs"], self.params["output"]
        letters, factors = [output, *inputs], [grad, *operands]
        del letters[index + 1], factors[index + 1]
        known = _lengths(letters, [x.shape for x in factors])
        unused = iter([letter for letter in _LETTERS if letter not in output + "".join(inputs)])
        target = ""
        for letter, length in zip(inputs[index], operands[index].shape, strict=True):
            if letter in target:
                fresh = next(unused)
                letters.append(letter + fresh)
                factors.append(np.eye(length, dtype=grad.dtype))
                letter = fresh
            elif letter not in known or length not in known[letter] | {1}:
                letters.append(letter)
                factors.append(np.ones(length, grad.dtype))
            target += letter
        return Einsum()(*factors, inputs=tuple(letters), output=target)


class Linear(FusedOp):
    definition = staticmethod(definitions.linear)

    def gradient(self, grad: Array, *saved: Array | None) -> tuple[Array | None, ...]:
        return kernels.of(grad).linear_gradient(grad, *saved, **self.params, needs=self.needs_input_grad)


def matmul(x: Any, y: Any) -> Tensor:
    """Return the matrix product of the last two axes, broadcast over those before; a vector is a row or a column.

    Raises:
        ValueError: the shapes do not fit, or one has no axis.

    Example:
        >>> ops.matmul([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])
        Tensor([3., 7.])
    """
    left, right = shape_of(x), shape_of(y)
    if not (left and right):
        raise ValueError(f"matmul: both inputs have at least one axis, got shapes {left} and {right}")
    if left[-1] != (inner := right[-2:][0]):
        raise ValueError(f"matmul: shapes {left} and {right} do not fit: rows of {left[-1]} meet columns of {inner}")
    if len(left) > 1 and len(right) > 1:
        return MatMul()(x, y)
    x = reshape(x, (1, -1)) if len(left) == 1 else x
    y = reshape(y, (-1, 1)) if len(right) == 1 else y
    return MatMul()(x, y).squeeze([axis for axis, shape in ((-2, left), (-1, right)) if len(shape) == 1])


def einsum(equation: str, *operands: Any) -> Tensor:
    """Return the sum of products that `equation` states, as "ij,jk->ik"; "..." stands for the axes that are not named.

    Raises:
        ValueError: the equation names another number of operands or axes, or an axis has two lengths.

    Example:
        >>> ops.einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [1.0, 10.0])
        Tensor([21., 43.])
    """
    shapes = [shape_of(operand) for operand in operands]
    inputs, output = _parse(equation, shapes)
    return Einsum()(*operands, inputs=tuple(inputs), output=output)


def _parse(equation: str, shapes: list[Shape]) -> tuple[list[str], str]:
    """Return the letters of each operand and of the output, with "..." and a missing output spelled out."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: {equation!r} names {len(terms)} operands, got {len(shapes)}")
    used = "".join([term.replace("...", "", 1) for term in (*terms, right)])
    if strange := sorted(set(used) - set(_LETTERS)):
        raise ValueError(f"einsum: {equation!r} has {strange[0]!r} where a letter, or one '...', stands for axes")
    spare = [letter for letter in _LETTERS if letter not in used]
    inputs, longest = [], ""
    for term, shape in zip(terms, shapes, strict=True):
        named = len(term.replace("...", ""))
        if named > len(shape) or (named < len(shape) and "..." not in term):
            raise ValueError(f"einsum: {term!r} in {equation!r} names {named} axes, got an operand of shape {shape}")
        dots = "".join(spare[: len(shape) - named][::-1])
        longest = max(longest, dots, key=len)
        inputs.append(term.replace("...", dots))
    joined = "".join(inputs)
    alone = sorted(letter for letter in set(joined) if joined.count(letter) == 1 and letter not in longest)
    output = right.replace("...", longest) if arrow else longest + "".join(alone)
    _check_letters(equation, shapes, inputs, output, longest)
    return inputs, output


def _check_letters(equation: str, shapes: list[Shape], inputs: list[str], output: str, stretched: str) -> None:
    """Refuse an axis of two lengths (those of "...", which are `stretched`, may be 1), and an output without source."""
    lengths = _lengths(inputs, shapes)
    for letter, found in lengths.items():
        if len(found - {1} if letter in stretched else found) > 1:
            name = "..." if letter in stretched else letter
            raise ValueError(f"einsum: axis {name!r} of {equation!r} has lengths {sorted(found)} in shapes {shapes}")
    for letter in output:
        if letter not in lengths or output.count(letter) > 1:
            raise ValueError(
                f"einsum: the output of {equation!r} has letters of its operands, each once, got {letter!r}"
            )


def _lengths(terms: list[str], shapes: list[Shape]) -> dict[str, set[int]]:
    """Return the lengths that each letter stands for."""
    lengths: dict[str, set[int]] = {}
    for letters, shape in zip(terms, shapes, strict=True):
        for letter, length in zip(letters, shape, strict=True):
            lengths.setdefault(letter, set()).add(length)
    return lengths


def linear(x: Any, weight: Any, bias: Any = None, activation: ActivationSpec = None) -> Tensor:
    """Return x weightᵀ + bias: the last axis of x, of length in_features, becomes one of length out_features.

    Args:
        x: shape (..., in_features).
        weight: shape (out_features, in_features).
        bias: shape (out_features,), or None.
        activation: the name of an activation to apply in the same kernel, or (name, parameter).

    Raises:
        ValueError: the shapes do not fit, or the activation is not known.
        TypeError: the dtypes differ.

    Example:
        >>> ops.linear([[1.0, 2.0]], weight=[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], bias=[0.0, 0.0, 10.0])
        Tensor([[ 1.,  2., 13.]])
    """
    x_kind, weight_kind, bias_kind = shape_dtypes_of(x, weight, bias)
    activation = _checked(x_kind, weight_kind, bias_kind, activation)
    return Linear()(x, weight, bias, activation=activation)


@cached
def _checked(x: ShapeDtype, weight: ShapeDtype, bias: ShapeDtype | None, activation: ActivationSpec) -> Activation:
    """Return the activation of `linear`, after all its arguments are checked."""
    given, wanted = x[0], weight[0]
    if len(wanted) != 2 or given[-1:] != wanted[1:]:
        raise ValueError(
            f"linear: an input of shape {given} and a weight of shape {wanted} do not fit; "
            "the last axes are equal, and the weight has shape (out_features, in_features)"
        )
    if bias is not None and bias[0] != wanted[:1]:
        raise ValueError(f"linear: bias has shape {wanted[:1]} beside a weight of shape {wanted}, got {bias[0]}")
    check_dtypes("linear", input=x, weight=weight, bias=bias)
    return fusible(activation)
