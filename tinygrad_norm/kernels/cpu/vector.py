"""Vectors of a few neighbouring numbers, for kernels whose sums have to stay in registers while they walk.

Numba leaves the choice of vectors to LLVM, which makes them of an innermost loop alone. Where sums outlive that loop,
a kernel names its vectors: of 64 bytes, whatever the dtype. LLVM makes of each as many registers of the machine as it
takes, four, two or one, which changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

BYTES = 64


class Vector(types.Type):  # type: ignore[misc] # Numba has no types
    """As many numbers of this dtype as fit."""

    def __init__(self, dtype: Any) -> None:
        super().__init__(name=f"Vector({dtype})")
        self.dtype = dtype


@register_model(Vector)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Any) -> None:
        length = BYTES * 8 // vector.dtype.bitwidth
        super().__init__(manager, vector, ir.VectorType(manager[vector.dtype].get_value_type(), length))


@intrinsic
def length(_: Any, array: Any) -> tuple[Any, Callable[..., Any]]:
    """How many elements of the array are a vector: a constant to the compiler."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_constant(types.intp, BYTES * 8 // array.dtype.bitwidth)

    return types.intp(array), code


@intrinsic
def zeros(_: Any, array: Any) -> tuple[Any, Callable[..., Any]]:
    """A vector of zeros, of the array's dtype."""
    vector = Vector(array.dtype)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_constant_null(vector)

    return vector(array), code


def _place(context: Any, builder: Any, array: Any, values: Any) -> Any:
    """The address of an element of an array without gaps, as that of a vector."""
    data = context.make_array(array)(context, builder, values[0]).data
    at = builder.gep(data, [values[1]])
    return builder.bitcast(at, context.get_value_type(Vector(array.dtype)).as_pointer())


@intrinsic
def load(_: Any, array: Any, start: Any) -> tuple[Any, Callable[..., Any]]:
    """The vector that begins at the element with that number."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(_place(context, builder, array, values), align=array.dtype.bitwidth // 8)

    return Vector(array.dtype)(array, types.intp), code


@intrinsic
def store(_: Any, array: Any, start: Any, vector: Any) -> tuple[Any, Callable[..., Any]]:
    """Write a vector to the element with that number and what follows."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store(values[2], _place(context, builder, array, values), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic
def multiply_add(_: Any, a: Any, b: Any, c: Any) -> tuple[Any, Callable[..., Any]]:
    """The vector a b + c, rounded once where the machine can."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        product = builder.fmul(values[0], values[1], flags=("contract",))
        return builder.fadd(product, values[2], flags=("contract",))

    return a(a, b, c), code
