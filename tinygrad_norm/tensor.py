"""Tensor: an array, its gradient, and its place on the tape. Operators and methods are one line that calls an op."""

from __future__ import annotations

import operator
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.ma import MaskedArray

from tinygrad_norm import dtypes, generation, gradients, in_place, integrity, modes, operands, ops, tape
from tinygrad_norm.dtypes import Array, Axis
from tinygrad_norm.forks import free_when_forking
from tinygrad_norm.gradients import GradHooks
from tinygrad_norm.operands import Edge
from tinygrad_norm.ops.shape import plain_key

Operator = Callable[[Any, Any], "Tensor"]


def _operators(op: Operator) -> tuple[Operator, Operator, Operator]:
    """The methods of `x + y`, of `y + x` where y is no tensor, and of `x += y`."""

    def reflected(self: Tensor, other: Any) -> Tensor:
        return op(other, self)

    def in_place_of(self: Tensor, other: Any) -> Tensor:
        return in_place.update(self, op, other)

    return op, reflected, in_place_of


class Tensor:
    """An array, its gradient, and its place on the tape.

    Args:
        array: NumPy array, tensor, number or nested list; it is copied, so that the tape's arrays are its own. Python
            floats become float32; a NumPy array keeps its dtype. Of a tensor that wants a gradient the values are
            taken, with a warning unless the new one is to be a leaf that wants one too.
        requires_grad: whether `backward()` is to leave a gradient in `.grad`. Floating point only.
        dtype: float32, float64, an integer type or bool.

    Raises:
        TypeError: another dtype, or a gradient wanted of integers.
    """

    __slots__ = ("__weakref__", "creator", "grad", "grad_hooks", "raw", "wants_grad")

    def __init__(self, array: Any, requires_grad: bool = False, dtype: Any = None) -> None:
        if not requires_grad and modes.is_recording() and _wants_gradient(array):
            warnings.warn(
                "Tensor: the values of a tensor that wants a gradient are copied off the tape; say so with "
                "tensor.detach(), or join several with ops.stack",
                stacklevel=2,
            )
        self.raw = _to_array(array, dtype)
        self.grad: Tensor | None = None
        self.creator: Edge | None = None
        self.grad_hooks: GradHooks | None = None
        self.wants_grad = False
        if requires_grad:
            self.requires_grad_()

    wrap = staticmethod(operands.wrap)
    """A tensor on an array itself, without a copy. For this package's own code."""

    # Its array

    @property
    def data(self) -> Array:
        """The tensor's memory as an array: what is written into it changes the tensor."""
        return integrity.hand_out(self.raw)

    @data.setter
    def data(self, array: Any) -> None:
        if isinstance(array, np.ndarray) and integrity.lent_by(array) is self.raw:
            return  # tensor.data += ... has written already
        fresh = _to_array(array, None)
        if fresh.shape != self.shape or fresh.dtype.kind != self.dtype.kind:
            raise ValueError(
                f"data: a tensor of shape {self.shape} and {self.dtype} takes an array like it, "
                f"not shape {fresh.shape} and {fresh.dtype}"
            )
        if lost := dtypes.beyond(fresh, self.dtype):
            raise ValueError(f"data: the array {lost}")
        self.replace(fresh.astype(self.dtype, copy=False))

    def replace(self, array: Array) -> None:
        """Put `array` itself in the place of the elements. For this package's own code."""
        self.raw = array
        generation.advance()

    def changed(self) -> None:
        """Say that `raw` was written in place, so that a backward through its old values is refused."""
        integrity.mark_changed(self.raw)

    # Properties, made below
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ndim: int
    size: int
    nbytes: int

    def numpy(self) -> Array:
        """The tensor's memory as an array, not a copy, as `data`."""
        return self.data

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: a tensor of shape {self.shape} has {self.size} elements, not one")
        return self.raw.item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return self.raw.tolist()

    def detach(self) -> Tensor:
        """The same array, off the tape."""
        return Tensor.wrap(self.raw)

    def copy(self) -> Tensor:
        """A copy of the array, off the tape."""
        return Tensor.wrap(self.raw.copy())

    # Its gradient

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user and not by a recorded op."""
        return self.creator is None

    @property
    def requires_grad(self) -> bool:
        """Whether it is a leaf that gets a gradient, or was made of one."""
        return self.wants_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        self.requires_grad_(requires_grad)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Ask for a gradient (or no longer), in place."""
        if not self.is_leaf:
            raise ValueError(
                "requires_grad_: only a leaf can be told; this tensor was made by a recorded op (see detach)"
            )
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: gradients need float32 or float64 elements, these are {self.dtype}")
        self.wants_grad = requires_grad
        generation.advance()
        return self

    def backward(self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Add the gradient of this tensor with respect to each leaf to the leaf's `.grad`.

        Args:
            gradient: the gradient of this tensor, of its shape; None means 1, for a tensor of one element.
            retain_graph: keep what the tape saved, for another backward; `create_graph` keeps it too.
            create_graph: record the way back, so that `.grad` can be differentiated again.

        Raises:
            ValueError: nothing was recorded, or `gradient` is missing or of another shape.
            RuntimeError: an array that the tape saved was changed, or an earlier backward freed it.
        """
        found = tape.backward_pass([self], [gradient], None, retain_graph or create_graph, create_graph)
        taken = {id(gradient.raw)} if isinstance(gradient, Tensor) else set()
        for leaf, new in found.items():
            if isinstance(leaf, Tensor):
                leaf._add_gradient(new, taken, create_graph)

    def _add_gradient(self, new: Tensor, taken: set[int], create_graph: bool) -> None:
        with _shared_leaves:
            if self.grad is None:
                self.grad = gradients.unshared(new, taken, "C")
                return
            if not isinstance(self.grad, Tensor) or (self.grad.shape, self.grad.dtype) != (new.shape, new.dtype):
                raise _no_gradient_can_be_added(self.grad, new)
            self.grad = gradients.total(self.grad, new, create_graph)

    def graph(self, **how: Any) -> Any:
        """Draw what made this tensor: `tinygrad_norm.viz.draw_graph`, which is loaded when it is first asked for.

        Gradients in it are those that the leaves hold; the tape keeps none of an op, which a graph of a call has.
        """
        return import_module("tinygrad_norm.viz").draw_graph(self, **how)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call `hook` with this tensor's gradient during backward; what it returns, unless None, replaces it.

        The gradient is a copy, which the hook may also change in place.

        Returns:
            A function that removes the hook.

        Raises:
            ValueError: the tensor wants no gradient.
            TypeError: the hook cannot be called.
        """
        holder: Any = self if self.creator is None else self.creator
        if holder is self and not self.requires_grad:
            raise ValueError("register_hook: this tensor does not require a gradient")
        if not callable(hook):
            raise TypeError(f"register_hook: a hook can be called, got {type(hook).__name__}")
        key = object()
        with _shared_leaves:
            holder.grad_hooks = {**(holder.grad_hooks or {}), key: hook}

        def remove() -> None:
            with _shared_leaves:
                holder.grad_hooks = {other: kept for other, kept in holder.grad_hooks.items() if other is not key}

        return remove

    def retain_grad(self) -> Tensor:
        """Keep the gradient of this tensor in `.grad` although it is no leaf. Returns the tensor."""
        if not self.is_leaf:
            me = weakref.ref(self)

            def keep(gradient: Tensor) -> None:
                if (tensor := me()) is not None:
                    tensor.grad = gradients.on_own_memory(gradient, "C")

            self.register_hook(keep)
        return self

    # Python's and NumPy's protocols

    def __repr__(self) -> str:
        text = np.array2string(self.raw, separator=", ", prefix="Tensor(", precision=4, threshold=200)
        facts = [] if self.dtype in (np.float32, np.int64, np.bool_) else [f"dtype={self.dtype}"]
        if self.size > 200 or not self.size:
            facts.append(f"shape={self.shape}")
        if isinstance(self.creator, tape.Op):
            facts.append(f"creator={type(self.creator).__name__}")
        elif self.requires_grad:
            facts.append("requires_grad=True")
        return f"Tensor({', '.join([text, *facts])})"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous; use .any() or .all()")
        return bool(self.raw)

    def __float__(self) -> float:
        number = float(self.item())
        if self.requires_grad and modes.is_recording():
            warnings.warn(
                "float: a number made of a tensor that wants a gradient takes none with it; say so with "
                "tensor.item() or tensor.detach(), or use a function of ops",
                stacklevel=2,
            )
        return number

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"an index is a tensor of integers, got {self.dtype}")
        return operator.index(self.item())

    def __contains__(self, value: Any) -> bool:
        return bool((self.raw == (value.raw if isinstance(value, Tensor) else value)).any())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    __hash__ = object.__hash__

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if not self.is_leaf:
            raise ValueError("deepcopy: only a leaf can be copied; this tensor was made by a recorded op (see detach)")
        clone = _new(type(self))
        clone.raw, clone.wants_grad = self.raw.copy("K"), self.wants_grad
        clone.creator = clone.grad_hooks = None
        clone.grad = None if self.grad is None else self.grad.copy()
        return clone

    def __reduce__(self) -> Any:
        raise TypeError("tensors are not pickled: a pickle runs code when it is read; see save_safetensors")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self.requires_grad and modes.is_recording():
            raise RuntimeError(
                "NumPy: an array made of a tensor that wants a gradient takes none with it; say so with "
                "tensor.detach() or tensor.numpy(), or join several tensors with ops.stack"
            )
        return np.array(self.raw if copy else self.data, dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return ops.from_numpy_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return ops.from_numpy_function(function, args, kwargs)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return ops

    def __dlpack__(self, **kwargs: Any) -> Any:
        if self.requires_grad:
            raise BufferError("DLPack hands over no gradient; use tensor.detach() first")
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.raw.__dlpack_device__()

    # Arithmetic and comparison

    __add__, __radd__, __iadd__ = _operators(ops.add)
    __sub__, __rsub__, __isub__ = _operators(ops.subtract)
    __mul__, __rmul__, __imul__ = _operators(ops.multiply)
    __truediv__, __rtruediv__, __itruediv__ = _operators(ops.divide)
    __pow__, __rpow__, __ipow__ = _operators(ops.pow)
    __matmul__, __rmatmul__, __imatmul__ = _operators(ops.matmul)

    def __neg__(self) -> Tensor:
        return ops.negative(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __invert__(self) -> Tensor:
        return ops.logical_not(_truths(self))

    def __and__(self, other: Any) -> Tensor:
        return ops.logical_and(_truths(self), _truths(other))

    __rand__ = __and__

    def __iand__(self, other: Any) -> Tensor:
        return in_place.update(self, operator.and_, other)

    def __or__(self, other: Any) -> Tensor:
        return ops.logical_or(_truths(self), _truths(other))

    __ror__ = __or__

    def __ior__(self, other: Any) -> Tensor:
        return in_place.update(self, operator.or_, other)

    __eq__ = ops.equal  # type: ignore[assignment]
    __ne__ = ops.not_equal  # type: ignore[assignment]
    __lt__ = ops.less
    __le__ = ops.less_equal
    __gt__ = ops.greater
    __ge__ = ops.greater_equal

    def __getitem__(self, key: Any) -> Tensor:
        return ops.getitem(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        in_place.assign(self, plain_key(key), value)

    # Elementwise

    def astype(self, dtype: Any) -> Tensor:
        """The elements as another dtype."""
        return ops.astype(self, dtype)

    def exp(self) -> Tensor:
        """e to the power of each element."""
        return ops.exp(self)

    def log(self) -> Tensor:
        """The natural logarithm of each element."""
        return ops.log(self)

    def sqrt(self) -> Tensor:
        """The square root of each element."""
        return ops.sqrt(self)

    def rsqrt(self) -> Tensor:
        """One over the square root of each element."""
        return ops.rsqrt(self)

    def square(self) -> Tensor:
        """Each element times itself."""
        return ops.square(self)

    def abs(self) -> Tensor:
        """The magnitude of each element."""
        return ops.abs(self)

    def sign(self) -> Tensor:
        """-1, 0 or 1 for each element."""
        return ops.sign(self)

    def sin(self) -> Tensor:
        """The sine of each element, in radians."""
        return ops.sin(self)

    def cos(self) -> Tensor:
        """The cosine of each element, in radians."""
        return ops.cos(self)

    def tanh(self) -> Tensor:
        """The hyperbolic tangent of each element."""
        return ops.tanh(self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x)) of each element."""
        return ops.sigmoid(self)

    def relu(self) -> Tensor:
        """Each element, or 0 where it is negative."""
        return ops.relu(self)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Each element, kept between `min` and `max`."""
        return ops.clip(self, min, max)

    # Reductions

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The sum over `axis` (all axes, if None)."""
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The mean over `axis`."""
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        """The variance over `axis`: centred squares, divided by their number less `correction`."""
        return ops.var(self, axis=axis, correction=correction, keepdims=keepdims)

    def std(self, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        """The square root of the variance over `axis`."""
        return ops.std(self, axis=axis, correction=correction, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The largest element over `axis`."""
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The smallest element over `axis`."""
        return ops.min(self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The product over `axis`."""
        return ops.prod(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The index of the largest element along `axis`."""
        return ops.argmax(self, axis=axis, keepdims=keepdims)

    def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether every element is true."""
        return ops.all(self, axis=axis, keepdims=keepdims)

    def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether some element is true."""
        return ops.any(self, axis=axis, keepdims=keepdims)

    # Shape

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's name
        """The axes in reverse."""
        return ops.permute_dims(self, tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Tensor:  # noqa: N802 - the Array API's name
        """The last two axes exchanged: each matrix transposed."""
        return ops.matrix_transpose(self)

    def reshape(self, *shape: Any) -> Tensor:
        """The elements in another shape, given as numbers or as one tuple; one length may be -1."""
        return ops.reshape(self, _flat(shape))

    def permute_dims(self, *axes: Any) -> Tensor:
        """The axes in another order."""
        return ops.permute_dims(self, _flat(axes))

    def squeeze(self, axis: Axis = None) -> Tensor:
        """Without the axes of length 1 (all, if None)."""
        return ops.squeeze(self, axis)

    def expand_dims(self, axis: int) -> Tensor:
        """With a new axis of length 1 at `axis`."""
        return ops.expand_dims(self, axis)

    def broadcast_to(self, *shape: Any) -> Tensor:
        """Stretched to `shape`, without a copy."""
        return ops.broadcast_to(self, _flat(shape))

    def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Tensor:
        """The axes from `start_axis` to `end_axis`, both included, as one."""
        return ops.flatten(self, start_axis, end_axis)


_new = object.__new__
_shared_leaves = free_when_forking(threading.RLock())
"""Held while a gradient or a hook is added to a tensor, which several threads may do."""
operands.register_tensor(Tensor)

for _name, _doc in {
    "shape": "The length of each axis.",
    "dtype": "NumPy's dtype of the elements.",
    "ndim": "The number of axes.",
    "size": "The number of elements.",
    "nbytes": "The bytes of the elements.",
}.items():  # without a call of Python, as ops ask all the time
    setattr(Tensor, _name, property(operator.attrgetter(f"raw.{_name}"), doc=_doc))


def _no_gradient_can_be_added(set_to: Any, new: Tensor) -> ValueError:
    """The error about what somebody set `.grad` to, if that is no gradient like the new one."""
    shape = f" of shape {set_to.shape} and {set_to.dtype}" if isinstance(set_to, Tensor) else ""
    return ValueError(
        f"backward: .grad was set to a {type(set_to).__name__}{shape}, to which no gradient of shape {new.shape} and "
        f"{new.dtype} can be added; set it to None, or to a tensor of that shape and dtype"
    )


def from_dlpack(source: Any) -> Tensor:
    """A tensor on the memory of `source` (any object with `__dlpack__`, as PyTorch's and JAX's), without a copy."""
    array = np.from_dlpack(source)
    dtypes.supported(array.dtype)
    integrity.expose(array)
    return Tensor.wrap(array)


def _truths(value: Any) -> Any:
    """`value`, if &, | and ~ mean what they do to truth values; for integers they would be arithmetic on bits."""
    dtype = np.asarray(getattr(value, "raw", value)).dtype
    if dtype != np.bool_:
        raise TypeError(f"&, | and ~ take bool tensors, not {dtype}; compare first, or use ops.logical_and")
    return value


def _flat(numbers: tuple[Any, ...]) -> tuple[SupportsIndex, ...]:
    return tuple(numbers[0]) if len(numbers) == 1 and isinstance(numbers[0], (tuple, list)) else numbers


def _to_array(value: Any, dtype: Any) -> Array:
    """A copy of `value` as an array that a tensor can hold."""
    wanted = None if dtype is None else dtypes.supported(dtype)
    value = _unwrapped(value)
    try:
        if wanted is not None and (given := np.asanyarray(value).dtype).kind not in "biuf":
            raise TypeError(f"{given} is no number, and becomes no {wanted}")
        array = np.array(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise type(error)(f"Tensor: {type(value).__name__} cannot become an array: {error}") from None
    if wanted is None:
        single = array.dtype == np.float64 and not _holds_float64(value)
        wanted = np.dtype(np.float32) if single else dtypes.supported(array.dtype)
    if array.dtype == wanted:
        return array
    alike = array.dtype.kind + wanted.kind in ("ff", "ii", "uu", "iu", "ui")
    if alike and (lost := dtypes.beyond(array, wanted)):
        raise ValueError(f"Tensor: the array {lost}")
    return array.astype(wanted)


def _unwrapped(values: Any) -> Any:
    if isinstance(values, (list, tuple)):
        return [_unwrapped(value) for value in values]
    if isinstance(values, MaskedArray):
        return dtypes.plain(values)
    return values.raw if isinstance(values, Tensor) else values


def _wants_gradient(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_wants_gradient, value))
    return isinstance(value, Tensor) and value.requires_grad


def _holds_float64(value: Any) -> bool:
    """Whether float64 was asked for: a Python float does not ask, an array or NumPy scalar, also in a list, does."""
    if isinstance(value, (list, tuple)):
        return any(map(_holds_float64, value))
    return type(value) not in (int, float, bool) and np.asarray(value).dtype == np.float64
