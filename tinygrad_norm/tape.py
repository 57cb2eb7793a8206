"""The tape: what ran, in order, and the walk back along it.

Calling an `Op` runs its forward on arrays. If an input wants a gradient, the op itself becomes the tape's entry for
that call: it keeps the entries that made its inputs, what it saved on purpose, and how to go back. It keeps no input
tensor. The walk visits entries from the highest number down, in a loop, never by recursion.
"""

from __future__ import annotations

import copy
import heapq
import itertools
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Union

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from tinygrad_norm import dtypes, integrity, kernels
from tinygrad_norm.settings import Block, Setting

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

Array = NDArray[Any]
Order = Literal["K", "C"]
Edge = Union["Op", "Tensor"]
"""Where a gradient goes: the entry that made an input, or a leaf tensor that wants a gradient."""
GradHooks = dict[object, Callable[["Tensor"], "Tensor | None"]]
"""Hooks on one tensor, each under a key of its own; a dict that is not changed, but replaced."""


class State(NamedTuple):
    """How the ops of this thread run."""

    recording: bool = True
    composed: bool = False
    hooks: tuple[Hook, ...] = ()
    walking: bool = False
    shared: bool = False
    """Whether it is an op's backward that runs: gradients and what was saved may be somebody else's as well."""


class Hook:
    """Sees every op, forward and backward. Override what is wanted; `with hooks(hook):` turns it on."""

    def before_forward(self, op: Op, inputs: tuple[Any, ...]) -> None:
        """Before `op` computes its output from `inputs`."""

    def after_forward(self, op: Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        """After it, with the output."""

    def before_backward(self, op: Op, grad: Tensor) -> None:
        """Before the gradient of the output of `op` is taken back to its inputs."""

    def after_backward(self, op: Op, grad: Tensor, grads: tuple[Tensor | None, ...]) -> None:
        """After it, with a gradient (or None) for each input."""


_state = Setting("tinygrad_norm.tape", State())
_scope: ContextVar[str] = ContextVar("tinygrad_norm.scope", default="")  # apart: it changes with every module
_numbers = itertools.count()
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_NOTHING: tuple[Any, ...] = ()
_Tensor: type[Tensor]


def register_tensor(cls: type[Tensor]) -> None:
    """Make `cls` the type that ops take and hand back. tensor.py calls this, once."""
    global _Tensor
    _Tensor = cls


class Op:
    """One operation, and, once called, its entry on the tape.

    A subclass states `forward` on arrays and `backward` on tensors. What backward needs, forward hands to `save`. It
    may write `grad *= x`, which makes a new tensor there: a gradient may be that of other tensors as well.
    Parameters that are no tensors are keyword-only parameters of `forward`, and stand in `params` afterwards.
    """

    broadcasts = False
    """Whether gradients may come back in the broadcast shape and dtype; the walk then undoes both."""
    differentiable = True
    """False for ops whose output has no gradient: comparisons, argmax."""
    sets_dtype = False
    """Whether forward chooses the output's dtype; otherwise float64 only comes from float64."""
    saves_inputs = False
    created: str

    __slots__ = (
        "__weakref__",
        "_output",
        "_saved",
        "created",
        "dtype",
        "edges",
        "freed",
        "grad_hooks",
        "needs",
        "number",
        "params",
        "scope",
        "shape",
    )

    def forward(self, *arrays: Any, **params: Any) -> Any:
        """Compute the output from arrays. Python scalars come as they are, so that they do not widen a dtype."""
        raise TypeError(f"{type(self).__name__} defines no forward(self, *arrays, **params)")

    def backward(self, grad: Tensor) -> Tensor | tuple[Tensor | None, ...]:
        """Take the gradient of the output to one gradient (or None) for each input."""
        raise TypeError(f"{type(self).__name__} defines no backward(self, grad)")

    def __call__(self, *inputs: Any, **params: Any) -> Tensor:
        """Run forward on `inputs` (tensors, arrays, scalars or None) and record it if a gradient is wanted.

        Under `with composed():` an op that has a definition in primitives is that definition.
        """
        if hasattr(self, "params"):
            raise RuntimeError(f"{self.name}: an op is the entry of one call; make a new one for each: Name()(x)")
        state = _state.get()
        if state.composed and isinstance(self, FusedOp):
            return self.composed(*map(_as_tensor, inputs), **params)
        self.scope = _scope.get()
        try:
            arrays, edges, borrowed = _unwrap(inputs, state.recording and self.differentiable)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        self.needs = tuple([edge is not None for edge in edges]) if edges else (False,) * len(inputs)
        self.params = params
        self._saved = _NOTHING
        for hook in state.hooks:
            hook.before_forward(self, inputs)
        try:
            # A walk is quiet as a whole.
            result = self.forward(*arrays, **params) if state.walking else _quietly(self.forward, arrays, params)
        except ValueError as error:
            raise self._explained(error, arrays) from None
        array = result if type(result) is np.ndarray else np.asarray(result)
        if borrowed and any(integrity.owner_of(array) is integrity.owner_of(given) for given in borrowed):
            array = array.copy()  # a view of the caller's array, who may write to it and tell nobody
        if array.dtype is not _FLOAT32:
            array = self._in_own_dtype(array, arrays)
        self.shape = array.shape
        self.dtype = array.dtype
        if edges:
            self.number = next(_numbers)
            self.edges = edges
            self.freed = False
            self.grad_hooks: GradHooks | None = None
            given: Iterable[Any] = map(_sealed, inputs, arrays, edges) if self.saves_inputs else ()
            self._saved = (*given, *[self._seal(value, inputs, arrays, result, array) for value in self._saved])
            output = _Tensor.wrap(array, creator=self)
            self._output = weakref.ref(output)
        else:
            self._saved = ()
            output = _Tensor.wrap(array)
        for hook in state.hooks:
            hook.after_forward(self, inputs, output)
        return output

    def save(self, *arrays: Any) -> None:
        """Keep `arrays` for the way back: inputs, the output, or anything else. Kept only if the call is recorded."""
        self._saved += arrays

    @property
    def saved(self) -> tuple[Any, ...]:
        """What forward saved, as tensors attached where they came from, so that the way back can be recorded too."""
        return tuple([self._restore(value) for value in self._saved])

    @property
    def saved_arrays(self) -> tuple[Any, ...]:
        """What forward saved, as plain arrays."""
        return tuple([self._check(value) if type(value) is _Saved else value for value in self._saved])

    @property
    def saved_bytes(self) -> int:
        """Bytes kept for the way back; memory that two saved arrays share is counted once."""
        spans = {byte_bounds(value.array) for value in self._saved if type(value) is _Saved}
        return sum(end - begin for begin, end in spans)

    @property
    def output(self) -> Tensor | None:
        """The tensor this entry made, as long as somebody else holds it."""
        return self._output()

    @property
    def name(self) -> str:
        """The op's name, with the path of the module that ran it where there is one."""
        return f"{type(self).__name__} in {self.scope}" if self.scope else type(self).__name__

    def free(self) -> None:
        """Let go of what was saved."""
        self._saved = ()
        self.freed = True

    def _explained(self, error: ValueError, arrays: list[Any]) -> ValueError:
        """NumPy's error about shapes that do not broadcast, with the op's name and the shapes."""
        if not (self.broadcasts and "broadcast" in str(error)):
            return error
        shapes = " and ".join(str(array.shape) for array in arrays if isinstance(array, np.ndarray))
        return ValueError(
            f"{self.name}: shapes {shapes} do not broadcast; each axis must be equal, or 1 in one of them"
        )

    def _in_own_dtype(self, array: Array, arrays: list[Any]) -> Array:
        """The output; as float32 where NumPy widened int64 with float32, or int64 / 2: float64 is to be asked for."""
        if array.dtype not in dtypes.SUPPORTED:
            raise TypeError(
                f"{self.name}: forward should return an array of float32, float64, integers or bool, and returned "
                + ("None" if array.dtype == object and array[()] is None else f"elements of {array.dtype}")
            )
        if array.dtype == _FLOAT64 and not self.sets_dtype and not any(_is_float64(value) for value in arrays):
            return array.astype(np.float32)
        return array

    def _seal(self, value: Any, inputs: Any, arrays: list[Any], result: Any, output: Array) -> Any:
        """Note where a saved value came from and what it holds now."""
        if value is result:
            return _Saved(output, _OWN_OUTPUT, integrity.seal(output))
        if not isinstance(value, np.ndarray):
            return value
        for given, array in zip(inputs, arrays, strict=True):
            if array is value:
                return _sealed(given, array, _edge(given))
        return _Saved(value, None, integrity.seal(value))

    def _check(self, saved: _Saved) -> Array:
        if not integrity.intact(saved.array, saved.seal):
            raise RuntimeError(
                f"{self.name}: an array of shape {saved.array.shape} that it saved for backward was changed in place "
                "after the forward pass, so its gradient would be wrong; change a copy, or change it after backward()"
            )
        return saved.array

    def _restore(self, value: Any) -> Any:
        if type(value) is not _Saved:
            return value
        array = self._check(value)
        if not is_recording():
            return _Tensor.wrap(array)
        return _Tensor.wrap(array, creator=self if value.edge is _OWN_OUTPUT else value.edge)


_OWN_OUTPUT: Any = object()
"""In place of the entry itself, which would be a reference cycle."""


class _Saved(NamedTuple):
    array: Array
    edge: Edge | None
    seal: integrity.Seal


def _sealed(given: Any, array: Any, edge: Edge | None) -> Any:
    """An input as it is saved, given its array and where its gradient goes."""
    if not isinstance(array, np.ndarray):
        return array
    if edge is None and isinstance(given, np.ndarray):  # straight from the caller, who may change it and tell nobody
        return _Saved(array.copy("K"), None, integrity.UNTOUCHED)  # in the order of memory that kernels like
    return _Saved(array, edge, integrity.seal(array))


class FusedOp(Op):
    """An op that does the work of many primitives in one kernel, and names its definition.

    `definition` is a function of `definitions/`, which runs on tensors as on arrays; where it returns a tuple, the
    first is the output and the rest is saved. `forward` and `gradient` are the kernels of its name. An op whose
    function is defined nowhere else states all three: `composed` on tensors, `forward` and `gradient` on arrays. All
    inputs are saved; forward may `save` more. Under `create_graph=True` the definition is differentiated, so that
    derivatives of any order are right; under `with composed():` it runs in place of the kernel.
    """

    definition: ClassVar[Callable[..., Any] | None] = None
    saves_inputs = True
    __slots__ = ()

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

    def gradient(self, grad: Array, *saved: Any) -> tuple[Array | None, ...]:
        """One gradient (or None) for each input, from the output's gradient, the inputs and what forward saved."""
        name = f"{self._defined('gradient').__name__}_gradient"
        found: tuple[Array | None, ...] = getattr(kernels.of(grad), name)(grad, *saved, **self.params)
        return found

    def _defined(self, method: str) -> Callable[..., Any]:
        definition = type(self).definition
        if definition is None:
            raise TypeError(f"{type(self).__name__} defines no {method}(self, ...), nor does it name a definition")
        return definition

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The kernel's gradient, or, where it has to be recorded itself, the composition's."""
        if is_recording():
            return self._differentiate_composition(grad)
        grads = self.gradient(grad.raw, *self.saved_arrays)
        return tuple([None if array is None else _Tensor.wrap(np.asarray(array)) for array in grads])

    def _differentiate_composition(self, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        # Each input is taken through an alias: were one input made from another, the derivative with respect to it
        # would otherwise contain the way through that one as well.
        inputs = [
            _Alias()(value) if need else value for value, need in zip(self.saved, self.needs, strict=False)
        ]  # what forward saved beyond the inputs comes last, and is left out
        output = type(self)().composed(*inputs, **self.params)
        targets = [value.creator if need else None for value, need in zip(inputs, self.needs, strict=True)]
        found = walk([output], [cotangent], [target for target in targets if target is not None], create_graph=True)
        return tuple([None if target is None else found.get(target) for target in targets])


class _Alias(Op):
    """The same values under an entry of their own."""

    __slots__ = ()

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, grad: Tensor) -> Tensor:
        return grad


@np.errstate(all="ignore")  # a decorator takes half the time of a with block
def _quietly(forward: Callable[..., Any], arrays: list[Any], params: dict[str, Any]) -> Any:
    """Run without warnings: NaN and infinity are values, as detect_anomaly() knows."""
    return forward(*arrays, **params)


def _edge(value: Any) -> Edge | None:
    """Where the gradient of `value` goes, or None if it wants none."""
    if not (isinstance(value, _Tensor) and value.requires_grad):
        return None
    return value if value.creator is None else value.creator


def _unwrap(inputs: tuple[Any, ...], recording: bool) -> tuple[list[Any], tuple[Edge | None, ...], list[Array]]:
    """The arrays of `inputs`, where the gradient of each goes (or nothing if none does), and the caller's arrays."""
    arrays: list[Any] = []
    borrowed: list[Array] = []
    wanted = False
    only_scalars = True
    for value in inputs:
        if isinstance(value, _Tensor):
            array: Any = value.raw
            only_scalars = False
            wanted = wanted or value.requires_grad
        elif value is None:
            array = None
        else:
            array = constant(value)
            if isinstance(array, np.ndarray):
                only_scalars = False
                borrowed.append(array)
        arrays.append(array)
    if only_scalars:
        arrays = [None if value is None else _Tensor(value).raw for value in arrays]
    if not (wanted and recording):
        return arrays, (), borrowed
    edges = tuple([_edge(value) for value in inputs])
    if len(arrays) > 1:
        _tell_apart(arrays, edges)
    return arrays, edges, borrowed


def constant(value: Any) -> Any:
    """An input that is no tensor: an array, None, or a Python scalar, which takes the dtype of what it meets."""
    if value is None or type(value) in (int, float, bool):
        return value
    if isinstance(value, np.ndarray):
        return dtypes.plain(value)
    if isinstance(value, np.generic):
        dtypes.supported(value.dtype)
        return value.item()
    return _Tensor(value).raw


def _tell_apart(arrays: list[Any], edges: tuple[Edge | None, ...]) -> None:
    """Make array objects of inputs that share one but not an edge (x * x.detach()) distinct: `save` goes by them."""
    for i in range(1, len(arrays)):
        array = arrays[i]
        for j in range(i):
            if arrays[j] is array and edges[j] is not edges[i] and isinstance(array, np.ndarray):
                arrays[i] = array.view()


def _is_float64(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == _FLOAT64


def owned(array: Array) -> Tensor:
    """An array that nobody else holds, as a tensor, so that an op may save it without a copy."""
    return _Tensor.wrap(array)


def _as_tensor(value: Any) -> Any:
    return _Tensor(value) if isinstance(value, np.ndarray) else value


def is_recording() -> bool:
    """Whether ops called now are put on the tape."""
    return _state.get().recording


def is_walking() -> bool:
    """Whether a walk back is under way, so that ops called now are part of it."""
    return _state.get().walking


def is_shared() -> bool:
    """Whether an op's backward runs, which writes nothing in place: its tensors may be somebody else's as well."""
    return _state.get().shared


def _set(**fields: Any) -> Block:
    return Block(_state, lambda state: state._replace(**fields))


def no_grad() -> Block:
    """Record nothing: for inference. Also a decorator: `@no_grad()`."""
    return _set(recording=False)


def enable_grad() -> Block:
    """Record again, inside `no_grad`. Also a decorator: `@enable_grad()`."""
    return _set(recording=True)


def composed(enabled: bool = True) -> Block:
    """Run every fused op as its composed definition, in primitives."""
    return _set(composed=enabled)


def hooks(*more: Hook) -> Block:
    """Let `more` see every op that runs, forward and backward."""
    return Block(_state, lambda state: state._replace(hooks=(*state.hooks, *more)))


def current_scope() -> str:
    """The path of the module that is running, "" outside of any."""
    return _scope.get()


def enter_scope(name: str) -> Token[str]:
    """Run the ops that follow as part of the module `name` of the current module."""
    outer = _scope.get()
    return _scope.set(f"{outer}.{name}" if outer and name else outer or name)


def leave_scope(token: Token[str]) -> None:
    """End what `enter_scope` began."""
    _scope.reset(token)


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
        retain_graph: keep what the tape saved for another walk; as `create_graph` unless said.

    Raises:
        ValueError: an output has several elements and no gradient, shapes differ, or an input is unused.
    """
    outputs = [outputs] if isinstance(outputs, _Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, _Tensor) else list(inputs)
    if grad_outputs is None:
        grad_outputs = [None] * len(outputs)
    elif not isinstance(grad_outputs, list | tuple):
        grad_outputs = [grad_outputs]
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs need as many grad_outputs, {len(grad_outputs)} were given")
    targets = [_edge(value) for value in inputs]
    for index, target in enumerate(targets):
        if target is None:
            raise ValueError(f"grad: input {index} (shape {inputs[index].shape}) does not require a gradient")
    found = walk(outputs, grad_outputs, targets, retain_graph, create_graph)
    taken = {id(given.raw) for given in grad_outputs if isinstance(given, _Tensor)}
    if not allow_unused:
        for index, target in enumerate(targets):
            if target not in found:
                raise ValueError(
                    f"grad: the outputs do not depend on input {index} (shape {inputs[index].shape}); "
                    "pass allow_unused=True to get None for it"
                )
    return tuple([unshared(found[target], taken) if target in found else None for target in targets])


def walk(
    outputs: Sequence[Tensor],
    grads: Sequence[Any],
    targets: Sequence[Edge | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> dict[Edge, Tensor]:
    """Walk back from `outputs`, and return the gradient of each target (all leaves, if None).

    Entries are met from the highest number down, so each has its whole gradient when its turn comes; it is handed on
    and dropped. Nothing is written to a leaf here: a walk that fails half way leaves every `.grad` as it was.
    """
    retain = create_graph if retain_graph is None else retain_graph
    pending: dict[Edge, Tensor] = {}
    queue: list[tuple[int, Op]] = []
    found: dict[Edge, Tensor] = {}

    def hand_to(edge: Edge, grad: Tensor) -> None:
        if edge in pending:
            pending[edge] = pending[edge] + grad
        else:
            pending[edge] = grad
            if isinstance(edge, Op):
                heapq.heappush(queue, (-edge.number, edge))

    wanted = None if targets is None else set(targets)
    state = _state.get()
    active = state.hooks
    # What an entry computes on the way back is its own affair, unless it goes on the tape as well.
    seen = active if create_graph else ()
    under_way = State(create_graph, state.composed, seen, walking=True, shared=True)
    with Block(_state, lambda _: under_way), np.errstate(all="ignore"):
        for output, given in zip(outputs, grads, strict=True):
            hand_to(_root(output), _seed(output, given))
        path = None if wanted is None else _leading_to(wanted, pending)
        while queue:
            entry = heapq.heappop(queue)[1]
            grad = pending.pop(entry)
            if entry.grad_hooks:
                grad = _hooked(entry, grad)
            if wanted is not None and entry in wanted:
                found[entry] = grad
            edges: Sequence[Edge | None] = entry.edges
            if path is not None:
                edges = [edge if edge in path else None for edge in edges]
                if all(edge is None for edge in edges):
                    continue
            for edge, back in zip(edges, _backward(entry, grad, edges, active), strict=True):
                if edge is not None and back is not None:
                    hand_to(edge, _fit(entry, back, edge))
            if not retain:
                entry.free()
        for leaf, grad in pending.items():
            if wanted is None or leaf in wanted:
                found[leaf] = _hooked(leaf, grad)
    return found


def _root(output: Tensor) -> Edge:
    edge = _edge(output)
    if edge is None:
        raise ValueError(
            f"backward: this tensor of shape {output.shape} was not recorded: nothing it was made from has "
            "requires_grad=True, or it was made under no_grad()"
        )
    return edge


def _seed(output: Tensor, given: Any) -> Tensor:
    """The gradient that a walk from `output` begins with."""
    if given is None:
        if output.size != 1:
            raise ValueError(
                f"backward: a tensor of shape {output.shape} has {output.size} elements; pass the gradient of each, "
                "or reduce it to one, for example with .sum() or .mean()"
            )
        return _Tensor.wrap(np.ones(output.shape, output.dtype))
    seed = given if isinstance(given, _Tensor) else _Tensor(given)
    if seed.shape != output.shape:
        raise ValueError(
            f"backward: the gradient has shape {seed.shape}, the tensor {output.shape}; they must be equal"
        )
    return seed.astype(output.dtype) if seed.dtype != output.dtype else seed


def _leading_to(targets: set[Edge | None], roots: dict[Edge, Tensor]) -> set[Edge | None]:
    """The entries and leaves between `roots` and `targets`, both included."""
    seen: set[Edge | None] = set(roots)
    stack = list(roots)
    while stack:
        entry = stack.pop()
        if isinstance(entry, Op):
            fresh = [edge for edge in entry.edges if edge is not None and edge not in seen]
            seen.update(fresh)
            stack.extend(fresh)
    path = set(targets)
    for entry in sorted((edge for edge in seen if isinstance(edge, Op)), key=lambda op: op.number):
        if not path.isdisjoint(edge for edge in entry.edges if edge is not None):
            path.add(entry)
    return path


def _backward(
    entry: Op, grad: Tensor, edges: Sequence[Edge | None], active: tuple[Hook, ...]
) -> tuple[Tensor | None, ...]:
    """What one entry hands back, one gradient for each edge; those not wanted need not be computed."""
    if entry.freed:
        raise RuntimeError(
            f"{entry.name}: an earlier backward already went through this part of the tape and freed what it saved; "
            "pass retain_graph=True to the earlier one, or run the forward pass again"
        )
    for hook in active:
        hook.before_backward(entry, grad)
    result = (entry if edges is entry.edges else _going_to(entry, edges)).backward(grad)
    if result is None:
        raise RuntimeError(
            f"{entry.name}: backward returned None; it should return a gradient for each input, or, if there is none "
            "to go back, the op should say differentiable = False"
        )
    grads = result if isinstance(result, tuple) else (result,)
    if len(grads) != len(edges):
        raise RuntimeError(f"{entry.name}: backward returned {len(grads)} gradients for {len(edges)} inputs")
    for hook in active:
        hook.after_backward(entry, grad, grads)
    return grads


def _going_to(entry: Op, edges: Sequence[Edge | None]) -> Op:
    """`entry`, or its twin that goes back to these edges alone: another thread may want others at the same time."""
    needs = tuple([edge is not None for edge in edges])
    if needs == entry.needs:
        return entry
    twin = copy.copy(entry)
    twin.needs = needs
    twin._saved = tuple([_saved_by(entry, value) for value in entry._saved])
    return twin


def _saved_by(entry: Op, value: Any) -> Any:
    """What an op saved, for its twin: the output is still that of the entry on the tape."""
    return value._replace(edge=entry) if type(value) is _Saved and value.edge is _OWN_OUTPUT else value


def _fit(entry: Op, grad: Tensor, edge: Edge) -> Tensor:
    """Undo broadcasting and dtype promotion: the one place where both are undone."""
    if not isinstance(grad, _Tensor):
        raise TypeError(f"{entry.name}: backward returned a {type(grad).__name__}; gradients are tensors, or None")
    if grad.raw.shape == edge.shape and grad.raw.dtype == edge.dtype:
        return grad
    fitted = _sum_to(grad, edge.shape) if entry.broadcasts and grad.shape != edge.shape else grad
    if fitted.shape != edge.shape:
        raise RuntimeError(
            f"{entry.name}: backward returned a gradient of shape {grad.shape} for an input of shape {edge.shape}"
        )
    return fitted if fitted.dtype == edge.dtype else fitted.astype(edge.dtype)


def _sum_to(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`grad` summed over the axes along which `shape` was stretched."""
    added = max(len(grad.shape) - len(shape), 0)
    stretched = [added + i for i, (size, _) in enumerate(zip(shape, grad.shape[added:], strict=False)) if size == 1]
    summed = grad.sum(axis=(*range(added), *stretched), keepdims=True)
    return summed.squeeze(tuple(range(added))) if added else summed


def _hooked(edge: Edge, grad: Tensor) -> Tensor:
    """`grad` as the hooks registered on this very tensor leave it. They are given a copy, which they may write to."""
    if not edge.grad_hooks:
        return grad
    grad = on_own_memory(grad)
    with _set(shared=False):
        for hook in edge.grad_hooks.values():
            changed = hook(grad)
            grad = grad if changed is None else on_own_memory(_checked(changed, grad))
    return grad


def _checked(changed: Any, grad: Tensor) -> Tensor:
    """What a hook returned in place of `grad`."""
    if not isinstance(changed, _Tensor):
        raise TypeError(f"a hook on a tensor returned a {type(changed).__name__}; it may return a tensor, or None")
    if (changed.shape, changed.dtype) != (grad.shape, grad.dtype):
        raise ValueError(
            f"a hook on a tensor returned shape {changed.shape} of {changed.dtype} for a gradient of shape "
            f"{grad.shape} of {grad.dtype}"
        )
    return changed


def unshared(gradient: Tensor, taken: set[int], order: Order = "K") -> Tensor:
    """`gradient`, or a copy: an op may hand one array to several inputs, or a stretched view.

    Args:
        gradient: of a leaf or a target.
        taken: the ids of the arrays that are somebody's; that of what is returned is added.
        order: in memory, of a copy.
    """
    if gradient.raw.base is not None or id(gradient.raw) in taken:
        return on_own_memory(gradient, order)
    taken.add(id(gradient.raw))
    return gradient


def on_own_memory(gradient: Tensor, order: Order = "K") -> Tensor:
    """A copy at the same place on the tape."""
    edge = gradient if gradient.requires_grad and gradient.creator is None else gradient.creator
    return _Tensor.wrap(np.array(gradient.raw, order=order), edge)
