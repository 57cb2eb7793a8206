"""Derivatives as tools: the Jacobian and the Hessian of a function of tensors, and their products with vectors.

A vector times the Jacobian is a backward pass. The Jacobian times a vector takes two: what the first pass finds is
linear in the cotangent that it began with, and its derivative with respect to that cotangent is the product. So no op
states a rule for it. Source: Townsend, A new trick for calculating Jacobian vector products, 2017.

Where a derivative is differentiated again, fused ops go back through their definitions, so that it is right at any
order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import ops, tape
from tinygrad_norm.checks import check_type
from tinygrad_norm.launch import launch
from tinygrad_norm.modes import enable_grad
from tinygrad_norm.tensor import Tensor

Function = Callable[..., Any]
Inputs = Tensor | Iterable[Tensor]


@enable_grad()
def vjp(function: Function, inputs: Inputs, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """Return the output of a function, and the vector-Jacobian product: the gradient, if the output is a loss.

    Nobody's `.grad` or `requires_grad` is touched.

    Args:
        function: takes the inputs and returns a tensor of floats, or several in a tuple or a dict. It is called once,
            so running statistics move once. One that can be called without arguments is called so, and differentiated
            with respect to the inputs as they are: `vjp(lambda: loss(model(x), y), model.parameters())`.
        inputs: a tensor of floats, or several in a tuple, a list or an iterator.
        v: for each output its cotangent, in the form of the output; None means 1, for an output of one element.
        create_graph: record the results, so that they can be differentiated again, with respect to inputs that want a
            gradient and to all else that does; otherwise they are off the tape.

    Returns:
        (output, product): the product is a tensor like the input, or a tuple of one for each input, and 0 for one that
        the output does not depend on.

    Raises:
        TypeError: `function` cannot be called, it returns what is no tensor of floats, or an input is none.
        ValueError: nothing that it returned was recorded, or `v` does not fit.

    Example:
        >>> vjp(lambda x: x**2, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))
        (Tensor([1., 4.]), Tensor([ 2., 40.]))
    """
    call = _call("vjp", function, inputs, create_graph)
    vectors = _vectors("vjp: v", v, call.output, call.outputs)
    return call.value, _like(call.given, _gradients(call.outputs, call.inputs, vectors, create_graph))


@enable_grad()
def jvp(function: Function, inputs: Inputs, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """Return the output of a function, and the Jacobian-vector product: its derivative along a direction.

    Args:
        function, inputs, create_graph: as in `vjp`.
        v: for each input its part of the direction, in the form of the inputs; None means 1, for one element.

    Returns:
        (output, product): the product has the form of the output.

    Raises:
        TypeError, ValueError: as in `vjp`.

    Example:
        >>> jvp(lambda x: x**2, Tensor([1.0, 2.0]), Tensor([1.0, 0.0]))
        (Tensor([1., 4.]), Tensor([2., 0.]))
    """
    call = _call("jvp", function, inputs, create_graph)
    vectors = _vectors("jvp: v", v, call.given, call.inputs)
    cotangents, pulled_back = _pull_back(call.outputs, call.inputs)
    return call.value, _like(call.output, _gradients(pulled_back, cotangents, vectors, create_graph))


@enable_grad()
def jacobian(function: Function, inputs: Inputs, create_graph: bool = False) -> Any:
    """Return the Jacobian of a function: the derivative of each element of the output by each of the input.

    It is computed by rows, in one backward pass for each element of the output, or, where the inputs have less than
    half as many elements, by columns, as in `jvp`.

    Args:
        function, inputs, create_graph: as in `vjp`.

    Returns:
        A tensor whose shape is that of the output and then that of the input. Of several outputs there is one for each,
        in their form, and of several inputs each of these is a tuple.

    Raises:
        TypeError, ValueError: as in `vjp`.

    Example:
        >>> jacobian(lambda x: x**2, Tensor([1.0, 2.0]))
        Tensor([[2., 0.],
                [0., 4.]])
    """
    call = _call("jacobian", function, inputs, create_graph)
    found = _jacobian(call.outputs, call.inputs, create_graph)
    return _like(call.output, [_like(call.given, row) for row in found])


@enable_grad()
def hessian(function: Function, inputs: Inputs, create_graph: bool = False) -> Any:
    """Return the Hessian of a function whose output has one element: its second derivatives.

    Args:
        function, inputs, create_graph: as in `vjp`.

    Returns:
        A tensor whose shape is that of the input, twice; of several inputs a tuple of tuples.

    Raises:
        TypeError: as in `vjp`.
        ValueError: as in `vjp`, or the output has another number of elements.

    Example:
        >>> hessian(lambda x: (x**3).sum(), Tensor([1.0, 2.0]))
        Tensor([[ 6.,  0.],
                [ 0., 12.]])
    """
    call = _call("hessian", function, inputs, create_graph)
    found = _jacobian(_gradient("hessian", call), call.inputs, create_graph)
    return _like(call.given, [_like(call.given, row) for row in found])


@enable_grad()
def hessian_vector_product(
    function: Function, inputs: Inputs, v: Any = None, create_graph: bool = False
) -> tuple[Any, Any]:
    """Return the output of a function, which has one element, and the product of its Hessian with a vector.

    That takes the time of several gradients, however many parameters there are, and no Hessian. Source: Pearlmutter,
    Fast exact multiplication by the Hessian, 1994.

    Args:
        function, inputs, create_graph: as in `vjp`.
        v: for each input its part of the vector, in the form of the inputs; None means 1, for one element.

    Returns:
        (output, product): the product has the form of the inputs.

    Raises:
        TypeError: as in `vjp`.
        ValueError: as in `vjp`, or the output has another number of elements.

    Example:
        >>> loss, product = hessian_vector_product(lambda x: (x**3).sum(), Tensor([1.0, 2.0]), [1.0, 1.0])
        >>> loss, product
        (Tensor(9.), Tensor([ 6., 12.]))
    """
    call = _call("hessian_vector_product", function, inputs, create_graph)
    vectors = _vectors("hessian_vector_product: v", v, call.given, call.inputs)
    gradient = _gradient("hessian_vector_product", call)
    return call.value, _like(call.given, _gradients(gradient, call.inputs, vectors, create_graph))


class _Call(NamedTuple):
    """A function that was called, and recorded."""

    given: Inputs
    inputs: list[Tensor]
    """What it is differentiated with respect to: nodes of their own for the inputs that it was called with."""
    output: Any
    outputs: list[Tensor]
    value: Any
    """The output as it is handed back."""


def _call(name: str, function: Function, given: Inputs, create_graph: bool) -> _Call:
    check_type(f"{name}: function", function, Callable, "what computes the output, a function of the inputs")
    inputs = _tensors(f"{name}: inputs", given)
    if not inputs:
        raise ValueError(f"{name}: inputs is a tensor of floats, or a tuple of some, got none")
    if takes_inputs := _takes_inputs(function):
        inputs = [
            x.reshape(x.shape) if create_graph and x.requires_grad else x.detach().requires_grad_() for x in inputs
        ]
    for x in inputs:
        if not x.requires_grad:
            raise ValueError(
                f"{name}: a function without arguments is differentiated with respect to tensors that want a gradient, "
                f"got one of shape {x.shape} that wants none; did you mean x.requires_grad_()?"
            )
    output = function(*inputs) if takes_inputs else function()
    outputs = _tensors(f"{name}: the output", [*output.values()] if isinstance(output, dict) else output)
    if not any(y.requires_grad for y in outputs):
        raise ValueError(
            f"{name}: the output was not recorded, so it has no derivative: it is made of no input, or off the tape, "
            "by detach(), by item() or under no_grad()"
        )
    value = output if create_graph else _like(output, [y.detach() for y in outputs])
    return _Call(given, inputs, output, outputs, value)


def _takes_inputs(function: Function) -> bool:
    """Return whether a function has to be called with arguments, or takes any number, as a module does."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a builtin that does not tell
        return True
    return any(each.default is each.empty and each.kind is not each.VAR_KEYWORD for each in parameters)


def _tensors(what: str, given: Any) -> list[Tensor]:
    """Return one tensor or several as a list."""
    tensors = list(given) if isinstance(given, tuple | list | Iterator) else [given]
    for each in tensors:
        check_type(what, each, Tensor, "a tensor of floats, or a tuple of some")
        if each.dtype.kind != "f":
            raise TypeError(f"{what} is a tensor of floats, got one of {each.dtype}; see astype")
    return tensors


def _like(form: Any, parts: Sequence[Any]) -> Any:
    """Return one part for each tensor of `form`, in its form: a tensor, several, or a dict."""
    if isinstance(form, dict):
        return dict(zip(form, parts, strict=True))
    return parts[0] if isinstance(form, Tensor) else tuple(parts)


def _vectors(what: str, v: Any, form: Any, tensors: list[Tensor]) -> list[Tensor]:
    """Return a vector for each of the tensors of `form`, with its shape."""
    if v is None:
        if sum(x.size for x in tensors) != 1:
            shapes = ", ".join(str(x.shape) for x in tensors)
            raise ValueError(f"{what} is left out for one element alone, got none for shape {shapes}")
        return [ops.ones_like(x) for x in tensors]
    if isinstance(form, dict):
        check_type(what, v, dict, "a dict, as what it belongs to")
        if v.keys() != form.keys():
            raise ValueError(f"{what} has the keys {[*form]}, got {[*v]}")
        v = [v[key] for key in form]
    elif not isinstance(form, Tensor):
        check_type(what, v, tuple | list | Iterator, "a tuple, as what it belongs to")
    given = [v] if isinstance(form, Tensor) else list(v)
    if len(given) != len(tensors):
        raise ValueError(f"{what} is one for each of {len(tensors)} tensors, got {len(given)}")
    vectors = []
    for each, x in zip(given, tensors, strict=True):
        vector = each if isinstance(each, Tensor) else Tensor(each, dtype=x.dtype)
        if vector.shape != x.shape:
            raise ValueError(f"{what} is of shape {x.shape}, got {vector.shape}")
        vectors.append(vector)
    return vectors


def _gradients(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor], create_graph: bool
) -> list[Tensor]:
    """Return the product of the cotangents with the Jacobian, 0 where nothing leads to an input."""
    pairs = [(y, u) for y, u in zip(outputs, cotangents, strict=True) if y.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if pairs:
        recorded, seeds = zip(*pairs, strict=True)
        found = tape.grad(recorded, inputs, seeds, create_graph, allow_unused=True, retain_graph=True)
    results = [ops.zeros_like(x) if each is None else each for each, x in zip(found, inputs, strict=True)]
    return [_on_tape(each, x) for each, x in zip(results, inputs, strict=True)] if create_graph else results


def _on_tape(result: Tensor, x: Tensor) -> Tensor:
    """Return a constant derivative as a function of x, so that its own derivative is 0 and not nothing."""
    return result if result.requires_grad else ops.where(True, result, x.sum())


def _pull_back(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return cotangents of the outputs, and their products with the Jacobian, as functions of them."""
    cotangents = [ops.zeros_like(y).requires_grad_() for y in outputs]
    return cotangents, _gradients(outputs, inputs, cotangents, create_graph=True)


def _gradient(name: str, call: _Call) -> list[Tensor]:
    """Return the gradient of a function whose output is one element."""
    if not isinstance(call.output, Tensor) or call.output.size != 1:
        shapes = " and ".join(str(y.shape) for y in call.outputs)
        raise ValueError(f"{name}: the output is one element, as a loss is, got shape {shapes}; see sum and mean")
    return _gradients([call.output], call.inputs, [ops.ones_like(call.output)], create_graph=True)


def _jacobian(outputs: Sequence[Tensor], inputs: Sequence[Tensor], create_graph: bool) -> list[list[Tensor]]:
    """Return the Jacobian, for each output a list of those by each input."""
    if 2 * sum(x.size for x in inputs) >= sum(y.size for y in outputs):
        return _rows(outputs, inputs, create_graph)
    cotangents, pulled_back = _pull_back(outputs, inputs)
    columns = _rows(pulled_back, cotangents, create_graph)  # the same, transposed
    return [
        [each.permute_dims(*range(x.ndim, each.ndim), *range(x.ndim)) for each, x in zip(row, inputs, strict=True)]
        for row in zip(*columns, strict=True)
    ]


def _rows(outputs: Sequence[Tensor], inputs: Sequence[Tensor], create_graph: bool) -> list[list[Tensor]]:
    """Return the Jacobian, by a backward pass for each element of the outputs."""
    found = []
    for y in outputs:
        seeds = launch(np.eye, y.size, y.size, 0, y.dtype).reshape(y.size, *y.shape)
        rows = [_gradients([y], inputs, [Tensor.wrap(seed)], create_graph) for seed in seeds]
        if rows:
            stacked = [ops.stack(column) for column in zip(*rows, strict=True)]
        else:
            stacked = [_on_tape(Tensor.wrap(launch(np.zeros, (0, *x.shape), x.dtype)), x) for x in inputs]
        found.append([each.reshape(*y.shape, *x.shape) for each, x in zip(stacked, inputs, strict=True)])
    return found
