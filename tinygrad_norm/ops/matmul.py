"""Products of matrices: matmul, einsum, and the linear layer's product with its bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import kernels
from tinygrad_norm.ops.shape import reshape
from tinygrad_norm.tape import Array, FusedOp, Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class MatMul(Op):
    broadcasts = True

    def forward(self, x: Array, y: Array) -> Array:
        self.save(x if self.needs[1] else None, y if self.needs[0] else None)
        return x @ y

    def backward(self, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = self.saved
        return grad @ y.mT if self.needs[0] else None, x.mT @ grad if self.needs[1] else None


class Einsum(Op):
    broadcasts = True

    def forward(self, *operands: Array, inputs: tuple[str, ...], output: str) -> Any:
        self.save(*operands)
        return np.einsum(f"{','.join(inputs)}->{output}", *operands, optimize=len(operands) > 1)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return tuple([self._for_operand(i, grad) if need else None for i, need in enumerate(self.needs)])

    def _for_operand(self, index: int, grad: Tensor) -> Tensor:
        """An einsum of the gradient with the other operands, whose output are this one's letters.

        A letter that only this operand has was summed alone: a vector of ones stretches it. A letter that stands
        twice in it took the diagonal: an identity matrix puts it back.
        """
        operands, inputs, output = self.saved, self.params["inputs"], self.params["output"]
        letters = [output, *[s for i, s in enumerate(inputs) if i != index]]
        factors: list[Any] = [grad, *[x for i, x in enumerate(operands) if i != index]]
        known, target = set("".join(letters)), ""
        unused = iter([letter for letter in _LETTERS if letter not in output + "".join(inputs)])
        for axis, letter in enumerate(inputs[index]):
            length = operands[index].shape[axis]
            if letter in target:
                fresh = next(unused)
                letters.append(letter + fresh)
                factors.append(np.eye(length, dtype=grad.dtype))
                letter = fresh
            elif letter not in known:
                letters.append(letter)
                factors.append(np.ones(length, grad.dtype))
            target += letter
        return Einsum()(*factors, inputs=tuple(letters), output=target)


class Linear(FusedOp):
    def composed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = x @ weight.mT
        return y if bias is None else y + bias

    def forward(self, x: Array, weight: Array, bias: Array | None) -> Array:
        return kernels.of(x).linear(x, weight, bias)

    def gradient(self, grad: Array, x: Array, weight: Array, bias: Array | None) -> tuple[Array | None, ...]:
        return kernels.of(grad).linear_gradient(grad, x, weight, self.needs)


def matmul(x: Any, y: Any) -> Tensor:
    """The matrix product of the last two axes, broadcast over those before; a vector stands for a row or a column."""
    shapes = np.shape(getattr(x, "raw", x)), np.shape(getattr(y, "raw", y))
    if () in shapes:
        raise ValueError(f"matmul: both inputs need at least one axis, but the shapes are {shapes[0]} and {shapes[1]}")
    if shapes[0][-1] != shapes[1][-2 if len(shapes[1]) > 1 else 0]:
        raise ValueError(f"matmul: shapes {shapes[0]} and {shapes[1]} do not fit: {shapes[0][-1]} columns meet other rows")
    if len(shapes[0]) > 1 and len(shapes[1]) > 1:
        return MatMul()(x, y)
    rows = reshape(x, (1, -1)) if len(shapes[0]) == 1 else x
    columns = reshape(y, (-1, 1)) if len(shapes[1]) == 1 else y
    lone = [axis for axis, shape in zip((-2, -1), shapes, strict=True) if len(shape) == 1]
    return MatMul()(rows, columns).squeeze(lone)


def einsum(equation: str, *operands: Any) -> Tensor:
    """The sum of products that `equation` states, as "ij,jk->ik"; "..." stands for the axes that are not named.

    Raises:
        ValueError: the equation names another number of operands or axes, or an axis has two lengths.
    """
    shapes = [np.shape(getattr(operand, "raw", operand)) for operand in operands]
    inputs, output = _parse(equation, shapes)
    return Einsum()(*operands, inputs=tuple(inputs), output=output)


def _parse(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """The letters of each operand and of the output, with "..." and a missing output spelled out."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: {equation!r} names {len(terms)} operands, {len(shapes)} were given")
    used = equation.replace("...", "")
    if strange := sorted(set(used) - set(_LETTERS) - set(" ,->")):
        raise ValueError(f"einsum: {equation!r} has {strange[0]!r}; axes are named by letters")
    spare = [letter for letter in _LETTERS if letter not in used]
    inputs, longest = [], ""
    for term, shape in zip(terms, shapes, strict=True):
        named = len(term.replace("...", ""))
        if named > len(shape) or (named < len(shape) and "..." not in term):
            raise ValueError(f"einsum: {term!r} in {equation!r} names {named} axes, the operand has shape {shape}")
        dots = "".join(spare[: len(shape) - named][::-1]) if "..." in term else ""
        longest = max(longest, dots, key=len)
        inputs.append(term.replace("...", dots))
    if arrow:
        output = right.replace("...", longest)
    else:
        joined = "".join(inputs)
        output = longest + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in longest))
    lengths: dict[str, int] = {}
    for letters, shape in zip(inputs, shapes, strict=True):
        for letter, length in zip(letters, shape, strict=True):
            if lengths.setdefault(letter, length) != length and not (letter in longest and 1 in (length, lengths[letter])):
                raise ValueError(f"einsum: axis {letter!r} of {equation!r} has length {lengths[letter]} and {length}")
    if unknown := [c for c in output if c not in lengths]:
        raise ValueError(f"einsum: the output of {equation!r} has {unknown[0]!r}, which no operand has")
    return inputs, output


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """x weightᵀ + bias: the last axis of x, of length in_features, becomes one of length out_features.

    Args:
        x: shape (..., in_features).
        weight: shape (out_features, in_features).
        bias: shape (out_features,), or None.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the dtypes differ.
    """
    given, wanted = np.shape(getattr(x, "raw", x)), np.shape(getattr(weight, "raw", weight))
    if len(wanted) != 2 or not given or given[-1] != wanted[1]:
        raise ValueError(f"linear: an input of shape {given} and a weight of shape {wanted} do not fit; "
                         "the last axis of both must be equal, and the weight (out_features, in_features)")
    if bias is not None and np.shape(getattr(bias, "raw", bias)) != wanted[:1]:
        raise ValueError(f"linear: a weight of shape {wanted} needs a bias of shape {wanted[:1]}, "
                         f"not {np.shape(getattr(bias, 'raw', bias))}")
    check_dtypes("linear", input=x, weight=weight, bias=bias)
    return Linear()(x, weight, bias)


def check_dtypes(name: str, **operands: Any) -> None:
    """Refuse operands that are not of one floating dtype.

    Raises:
        TypeError: one is no float, or they differ.
    """
    dtypes = {key: x.dtype for key, x in operands.items() if x is not None and hasattr(x, "dtype")}
    if len(set(dtypes.values())) > 1 or next(iter(dtypes.values())).kind != "f":
        listed = ", ".join(f"{key} {dtype}" for key, dtype in dtypes.items())
        raise TypeError(
            f"{name}: one floating dtype is needed throughout, but given are {listed}; "
            "convert the input with x.astype('float32'), or the module with module.astype('float64')"
        )
