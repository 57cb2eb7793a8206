"""The tape: what ran, in order, and the way back along it.

Calling an `Op` runs its forward on arrays. If an input wants a gradient, the op itself becomes a node of the tape for
that call: it keeps the nodes that made its inputs, what it saved on purpose, and how to go back. It keeps no input
tensor. The backward pass visits nodes from the highest number down, in a loop, never by recursion.

Around this stand `modes` (recording or not), `operands` (what an op is called with), `saved` (what it keeps),
`gradients` (what happens to a gradient on its way), `route` (a backward pass to some tensors alone) and `watched` (an
op while a plan is recorded).
"""

from __future__ import annotations

import heapq
import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinygrad_norm import gradients, kernels, launch, modes, operands, saved, watched
from tinygrad_norm.dtypes import Array
from tinygrad_norm.operands import Edge, as_tensor, edge_of, is_tensor, wrap
from tinygrad_norm.quiet import enter_quiet, leave_quiet
from tinygrad_norm.route import Route

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

_numbers = itertools.count()


class Op:
    """One operation, and, once called, its node on the tape.

    A subclass states `forward` on arrays and `backward` on tensors. What backward needs, forward hands to `save`. It
    may write `grad *= x`, which makes a new tensor there: a gradient may be that of other tensors as well.
    Parameters that are no tensors are keyword-only parameters of `forward`, and stand in `params` afterwards.

    Example:
        >>> class Cube(Op):
        ...     def forward(self, x):
        ...         self.save(x)
        ...         return x**3
        ...     def backward(self, grad):
        ...         (x,) = self.saved
        ...         return grad * 3 * x**2
        >>> x = Tensor(2.0, requires_grad=True)
        >>> Cube()(x).backward()
        >>> x.grad
        Tensor(12.)
    """

    broadcasts = False
    """Whether gradients may come back in the broadcast shape and dtype; the backward pass then undoes both."""
    differentiable = True
    """False for ops whose output has no gradient: comparisons, argmax."""
    sets_dtype = False
    """Whether forward chooses the output's dtype; otherwise float64 only comes from float64."""
    saves_inputs = False

    created: str
    params: dict[str, Any]
    edges: tuple[Edge | None, ...] = ()
    """Where the gradient of each input goes; nowhere, if the call was not recorded."""
    needs_input_grad: tuple[bool, ...] = ()
    scope = ""
    freed = False
    grad_hooks: gradients.GradHooks | None = None
    _saved: tuple[Any, ...] = ()
    number: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def forward(self, *arrays: Any, **params: Any) -> Any:
        """Compute the output from arrays. Python scalars come as they are, so that they do not widen a dtype."""
        raise TypeError(f"{type(self).__name__} defines no forward(self, *arrays, **params)")

    def backward(self, grad: Tensor) -> Tensor | tuple[Tensor | None, ...]:
        """Take the gradient of the output to one gradient (or None) for each input."""
        raise TypeError(f"{type(self).__name__} defines no backward(self, grad)")

    def __call__(self, *inputs: Any, **params: Any) -> Tensor:
        """Run forward on `inputs` (tensors, arrays, scalars or None) and record it if a gradient is wanted."""
        if self.needs_input_grad:  # every call sets it
            raise RuntimeError(f"{self.name}: an op is the node of one call; make a new one for each: Name()(x)")
        mode = modes.current()
        self.params, self.scope = params, modes.current_scope()
        try:
            arrays, edges, wanted, borrowed = operands.unwrap(inputs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        recorded = wanted and mode.recording and self.differentiable
        self.needs_input_grad = (False,) * len(edges)
        if recorded:
            self.edges = tuple(edges)
            self.needs_input_grad = tuple([edge is not None for edge in edges])
            operands.tell_apart(arrays, edges)
        for hook in mode.hooks:
            hook.before_forward(self, inputs)
        quiet = enter_quiet()
        try:
            result = self.forward(*arrays, **params) if not launch.active else watched.forward(self, arrays)
            array = operands.as_output(self, result, arrays, borrowed)
        except ValueError as error:
            raise operands.with_shapes(self, error, arrays) from None
        finally:
            leave_quiet(quiet)
        output = wrap(array, self if recorded else None)
        self.shape, self.dtype = array.shape, array.dtype
        if recorded:
            self.number = next(_numbers)
            self._saved = saved.keep(self, arrays, borrowed, result, array)
            self._output = weakref.ref(output)
        else:
            self._saved = ()
        for hook in mode.hooks:
            hook.after_forward(self, inputs, output)
        return output

    def save(self, *values: Any) -> None:
        """Keep `values` for the way back: inputs, the output, or anything else. Kept only if the call is recorded."""
        self._saved += values

    @property
    def saved(self) -> tuple[Any, ...]:
        """What forward saved, as tensors attached where they came from, so that the way back can be recorded too."""
        return saved.tensors_of(self, attached=modes.current().recording)

    @property
    def saved_arrays(self) -> tuple[Any, ...]:
        """What forward saved, as plain arrays."""
        return saved.arrays_of(self)

    @property
    def saved_bytes(self) -> int:
        """Bytes kept for the way back; memory that two saved arrays share is counted once."""
        return saved.bytes_of(self)

    @property
    def output(self) -> Tensor | None:
        """The tensor that this call made, as long as somebody else holds it."""
        return self._output()

    @property
    def name(self) -> str:
        """The op's name, with the path of the module that ran it where there is one."""
        return f"{type(self).__name__} in {self.scope}" if self.scope else type(self).__name__

    def free(self) -> None:
        """Let go of what was saved."""
        self._saved = ()
        self.freed = True


class FusedOp(Op):
    """An op that does the work of many primitives in one kernel, and names its definition.

    `definition` is a function of `definitions/`, which runs on tensors as on arrays; where it returns a tuple, the
    first is the output and the rest is saved. `forward` and `gradient` are the kernels of its name. An op whose
    function is defined nowhere else states all three: `composed` on tensors, `forward` and `gradient` on arrays. All
    inputs are saved; forward may `save` more. Under `create_graph=True` the definition is differentiated, so that
    derivatives of any order are right; under `with composed():` it runs in place of the kernel.

    Example:
        >>> op = ops.batch_norm(Tensor([[0.0], [2.0]], requires_grad=True), None, None, training=True).creator
        >>> isinstance(op, FusedOp), op.definition.__name__
        (True, 'normalize')
    """

    definition: ClassVar[Callable[..., Any] | None] = None
    saves_inputs = True
    differs_by_design: ClassVar[str] = ""
    """Why `gradient` is not the definition's derivative, of an op that was published so; certificates tell it."""

    def __call__(self, *inputs: Any, **params: Any) -> Tensor:
        """Run as any op; under `with composed():`, the definition."""
        if modes.current().composed:
            return self.composed(*[None if x is None else as_tensor(x) for x in inputs], **params)
        return super().__call__(*inputs, **params)

    def composed(self, *tensors: Any, **params: Any) -> Tensor:
        """The definition, on tensors."""
        result = self._defined("composed")(*tensors, **params)
        output: Tensor = result[0] if isinstance(result, tuple) else result
        return output

    def forward(self, *arrays: Any, **params: Any) -> Any:
        """The kernel of the definition's name."""
        result = getattr(kernels.of(arrays[0]), self._defined("forward").__name__)(*arrays, **params)
        if not isinstance(result, tuple):
            return result
        output, *others = result
        self.save(*others)
        return output

    def gradient(self, grad: Array, *kept: Any) -> tuple[Array | None, ...]:
        """One gradient (or None) for each input, from the output's gradient, the inputs and what forward saved."""
        name = f"{self._defined('gradient').__name__}_gradient"
        found: tuple[Array | None, ...] = getattr(kernels.of(grad), name)(grad, *kept, **self.params)
        return found

    def _defined(self, method: str) -> Callable[..., Any]:
        definition = type(self).definition
        if definition is None:
            raise TypeError(f"{type(self).__name__} defines no {method}(self, ...), nor does it name a definition")
        return definition

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The kernel's gradient, or, where it has to be recorded itself, the definition's."""
        if modes.current().recording:
            return self._differentiate_definition(grad)
        if not launch.active:
            grads = self.gradient(grad.raw, *self.saved_arrays)
        else:
            grads = watched.gradient(self, grad.raw, *self.saved_arrays)
        return tuple([None if array is None else wrap(np.asarray(array)) for array in grads])

    def _differentiate_definition(self, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        # Each input is taken through an alias: were one input made from another, the derivative with respect to it
        # would otherwise contain the way through that one as well.
        inputs = [
            _Alias()(value) if need else value for value, need in zip(self.saved, self.needs_input_grad, strict=False)
        ]  # what forward saved beyond the inputs comes last, and is left out
        output = type(self)().composed(*inputs, **self.params)
        targets = [value.creator if need else None for value, need in zip(inputs, self.needs_input_grad, strict=True)]
        wanted = [target for target in targets if target is not None]
        found = backward_pass([output], [cotangent], wanted, create_graph=True)
        return tuple([None if target is None else found.get(target) for target in targets])


class _Alias(Op):
    """A node of its own for the values of another."""

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, grad: Tensor) -> Tensor:
        return grad


def backward_pass(
    outputs: Sequence[Tensor],
    grads: Sequence[Any],
    targets: Sequence[Edge | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> dict[Edge, Tensor]:
    """Go back from `outputs`, and return the gradient of each target (all leaves, if None).

    Nodes are met from the highest number down, so each has its whole gradient when its turn comes; it is handed on and
    dropped. Nothing is written to a leaf here: a pass that fails half way leaves every `.grad` as it was.
    """
    retain = create_graph if retain_graph is None else retain_graph
    pending: dict[Edge, Tensor] = {}
    queue: list[tuple[int, Op]] = []
    found: dict[Edge, Tensor] = {}

    def accumulate(edge: Edge, grad: Tensor) -> None:
        if edge in pending:
            pending[edge] = gradients.total(pending[edge], grad, create_graph)
        else:
            pending[edge] = grad
            if isinstance(edge, Op):
                heapq.heappush(queue, (-edge.number, edge))

    hooks, quiet = modes.current().hooks, enter_quiet()
    try:
        with modes.backward(create_graph):
            for output, given in zip(outputs, grads, strict=True):
                accumulate(gradients.root(output), gradients.seed(output, given))
            route = None if targets is None else Route(targets, pending)
            while queue:
                node = heapq.heappop(queue)[1]
                grad = pending.pop(node)
                if node.grad_hooks:
                    grad = gradients.hooked(node, grad)
                if route and node in route.targets:
                    found[node] = grad
                going = route.narrowed(node) if route else node
                if going is None:
                    continue
                for edge, back in zip(going.edges, _go_back(node, going, grad, hooks), strict=True):
                    if edge is not None and back is not None:
                        accumulate(edge, gradients.fit(node, back, edge))
                if not retain:
                    node.free()
            for leaf, grad in pending.items():
                if route is None or leaf in route.targets:
                    found[leaf] = gradients.hooked(leaf, grad) if leaf.grad_hooks else grad
    finally:
        leave_quiet(quiet)
    return found


def _go_back(node: Op, going: Op, grad: Tensor, hooks: tuple[modes.Hook, ...]) -> tuple[Tensor | None, ...]:
    """What one node hands back, one gradient for each edge; `going` is it, or its twin on a narrower route."""
    if node.freed:
        raise RuntimeError(
            f"{node.name}: an earlier backward already went through this part of the tape and freed what it saved; "
            "pass retain_graph=True to the earlier one, or run the forward pass again"
        )
    for hook in hooks:
        hook.before_backward(node, grad)
    if not launch.active:
        result = going.backward(grad)
    else:
        scope = modes.enter_scope(node.scope)
        try:
            result = going.backward(grad)
        finally:
            modes.leave_scope(scope)
    if result is None:
        raise RuntimeError(
            f"{node.name}: backward returns a gradient for each input, got None; where there is none to go back, "
            "the op says differentiable = False"
        )
    grads = result if isinstance(result, tuple) else (result,)
    if len(grads) != len(node.edges):
        raise RuntimeError(f"{node.name}: backward returned {len(grads)} gradients for {len(node.edges)} inputs")
    for hook in hooks:
        hook.after_backward(node, grad, grads)
    return grads


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    create_graph: bool = False,
    allow_unused: bool = False,
    retain_graph: bool | None = None,
) -> tuple[Tensor | None, ...]:
    """Gradients of `outputs` with respect to `inputs`, as a tuple; nobody's `.grad` is touched.

    Args:
        outputs: one tensor or several; their gradients are added.
        inputs: one tensor or several, leaves or results.
        grad_outputs: the gradient of each output (vector-Jacobian product); None means 1, for outputs of one element.
        create_graph: record the way back, so that the gradients can be differentiated again.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.
        retain_graph: keep what the tape saved for another backward pass; as `create_graph` unless said.

    Raises:
        ValueError: an output has several elements and no gradient, shapes differ, or an input is unused.

    Example:
        >>> x = Tensor(3.0, requires_grad=True)
        >>> (dx,) = grad(x**3, x, create_graph=True)
        >>> dx.item(), grad(dx, x)[0].item()
        (27.0, 18.0)
    """
    outputs, inputs = _several(outputs), _several(inputs)
    if grad_outputs is None:
        grad_outputs = [None] * len(outputs)
    elif not isinstance(grad_outputs, list | tuple):
        grad_outputs = [grad_outputs]
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs need as many grad_outputs, {len(grad_outputs)} were given")
    targets = [edge_of(value) for value in inputs]
    for index, target in enumerate(targets):
        if target is None:
            raise ValueError(f"grad: input {index} (shape {inputs[index].shape}) does not require a gradient")
    found = backward_pass(outputs, grad_outputs, targets, retain_graph, create_graph)
    taken = {id(given.raw) for given in grad_outputs if is_tensor(given)}
    if not allow_unused:
        for index, target in enumerate(targets):
            if target not in found:
                raise ValueError(
                    f"grad: the outputs do not depend on input {index} (shape {inputs[index].shape}); "
                    "pass allow_unused=True to get None for it"
                )
    return tuple([gradients.unshared(found[target], taken) if target in found else None for target in targets])


def _several(tensors: Any) -> list[Any]:
    return [tensors] if is_tensor(tensors) else list(tensors)
