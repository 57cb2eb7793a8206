"""Tensor: an array, its gradient, and its place on the tape. Operators and methods are ops."""

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
from tinygrad_norm.dtypes import Array
from tinygrad_norm.forks import free_when_forking
from tinygrad_norm.gradients import GradHooks
from tinygrad_norm.launch import host, launch, read
from tinygrad_norm.operands import Edge
from tinygrad_norm.ops.shape import plain_key

Operator = Callable[[Any, Any], "Tensor"]


def _operators(op: Operator) -> tuple[Operator, Operator, Operator]:
    """Return the methods of `x + y`, of `y + x` where y is no tensor, and of `x += y`."""

    def reflected(self: Tensor, other: Any) -> Tensor:
        return op(other, self)

    def in_place_of(self: Tensor, other: Any) -> Tensor:
        return in_place.update(self, op, other)

    return op, reflected, in_place_of


def _of_truths(op: Operator) -> Operator:
    """Return `op` for bool operands alone: those of integers would be arithmetic on bits."""
    return lambda x, y: op(_truths(x), _truths(y))


def _truths(value: Any) -> Any:
    dtype = np.asarray(getattr(value, "raw", value)).dtype
    if dtype != np.bool_:
        raise TypeError(f"&, | and ~ take bool tensors, got {dtype}; compare first, or use ops.logical_and")
    return value


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

    Example:
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> y = (x**2).sum()
        >>> y.backward()
        >>> x.grad
        Tensor([2., 4.])
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
        read("data")
        return integrity.hand_out(self.raw)

    @data.setter
    def data(self, array: Any) -> None:
        if isinstance(array, np.ndarray) and integrity.lent_by(array) is self.raw:
            return  # tensor.data += ... has written already
        fresh = _to_array(array, None)
        if fresh.shape != self.shape or fresh.dtype.kind != self.dtype.kind:
            raise ValueError(
                f"data: a tensor of shape {self.shape} and {self.dtype} takes an array like it, "
                f"got shape {fresh.shape} and {fresh.dtype}"
            )
        if lost := dtypes.beyond(fresh, self.dtype):
            raise ValueError(f"data: the array {lost}")
        self.replace(fresh.astype(self.dtype, copy=False))

    def replace(self, array: Array) -> None:
        """Put `array` itself in the place of the elements. For this package's own code."""
        self.raw = np.asarray(array)  # arithmetic makes a number of what has no axes
        generation.advance()

    def changed(self) -> None:
        """Say that `raw` was written in place, so that a backward through its old values is refused."""
        launch(integrity.mark_changed, self.raw)

    # Properties, made below
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ndim: int
    size: int
    nbytes: int

    def numpy(self) -> Array:
        """Return the tensor's memory as an array, not a copy, as `data`."""
        return self.data

    def item(self) -> Any:
        """Return the only element, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: a tensor has one element, got {self.size} of shape {self.shape}")
        read("item()")
        return self.raw.item()

    def tolist(self) -> Any:
        """Return the elements as nested lists of Python numbers."""
        read("tolist()")
        return self.raw.tolist()

    def detach(self) -> Tensor:
        """Return the same array, off the tape."""
        return Tensor.wrap(self.raw)

    def copy(self) -> Tensor:
        """Return a copy of the array, off the tape."""
        return Tensor.wrap(launch(self.raw.copy))

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
            raise TypeError(f"requires_grad: gradients are of float32 or float64 elements, got {self.dtype}")
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
                is_tensor = isinstance(self.grad, Tensor)
                given = f"{self.grad.dtype} of shape {self.grad.shape}" if is_tensor else type(self.grad).__name__
                raise ValueError(
                    f"backward: .grad is None, or a tensor like its gradient, {new.dtype} of shape {new.shape}, "
                    f"got {given}"
                )
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
        read("repr()")
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
        read("bool()")
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
        read("in")
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
        read("an array of NumPy's")
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

    __neg__ = ops.negative

    def __pos__(self) -> Tensor:
        return self

    def __invert__(self) -> Tensor:
        return ops.logical_not(_truths(self))

    __and__, __rand__, __iand__ = _operators(_of_truths(ops.logical_and))
    __or__, __ror__, __ior__ = _operators(_of_truths(ops.logical_or))
    __eq__ = ops.equal  # type: ignore[assignment]
    __ne__ = ops.not_equal  # type: ignore[assignment]
    __lt__ = ops.less
    __le__ = ops.less_equal
    __gt__ = ops.greater
    __ge__ = ops.greater_equal

    __getitem__ = ops.getitem

    def __setitem__(self, key: Any, value: Any) -> None:
        in_place.assign(self, plain_key(key), value)

    # Functions of each element

    astype = ops.astype
    exp = ops.exp
    log = ops.log
    sqrt = ops.sqrt
    rsqrt = ops.rsqrt
    square = ops.square
    abs = __abs__ = ops.abs
    sign = ops.sign
    sin = ops.sin
    cos = ops.cos
    tanh = ops.tanh
    sigmoid = ops.sigmoid
    relu = ops.relu
    clip = ops.clip

    # Reductions

    sum = ops.sum
    mean = ops.mean
    var = ops.var
    std = ops.std
    max = ops.max
    min = ops.min
    prod = ops.prod
    argmax = ops.argmax
    all = ops.all
    any = ops.any

    # Shape

    squeeze = ops.squeeze
    expand_dims = ops.expand_dims
    flatten = ops.flatten
    mT = property(ops.matrix_transpose)  # noqa: N815 - the Array API's name

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's name
        """The axes in reverse."""
        return ops.permute_dims(self, tuple(range(self.ndim))[::-1])

    def reshape(self, *shape: Any) -> Tensor:
        """Return the elements in another shape, given as numbers or as one tuple; one length may be -1."""
        return ops.reshape(self, _flat(shape))

    def permute_dims(self, *axes: Any) -> Tensor:
        """Return the axes in another order."""
        return ops.permute_dims(self, _flat(axes))

    def broadcast_to(self, *shape: Any) -> Tensor:
        """Return the tensor stretched to `shape`, without a copy."""
        return ops.broadcast_to(self, _flat(shape))


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


def from_dlpack(source: Any) -> Tensor:
    """Return a tensor on the memory of `source`, any object with `__dlpack__` (PyTorch's, JAX's), without a copy.

    Example:
        >>> array = np.array([1.0, 2.0])
        >>> x = from_dlpack(array)
        >>> array[0] = 9.0
        >>> x
        Tensor([9., 2.], dtype=float64)
    """
    array = np.from_dlpack(source)
    dtypes.supported(array.dtype)
    integrity.expose(array)
    return Tensor.wrap(array)


def _flat(numbers: tuple[Any, ...]) -> tuple[SupportsIndex, ...]:
    return tuple(numbers[0]) if len(numbers) == 1 and isinstance(numbers[0], (tuple, list)) else numbers


def forget_gradients(tensors: list[Tensor], set_to_none: bool) -> None:
    """Make each `.grad` None, or else zeros where there is one."""
    if set_to_none:
        host(_forget, tensors)
    else:
        for tensor in tensors:
            if tensor.grad is not None:
                tensor.grad = Tensor.wrap(launch(np.zeros_like, tensor.grad.raw))


def _forget(tensors: list[Tensor]) -> None:
    for tensor in tensors:
        tensor.grad = None


def _to_array(value: Any, dtype: Any) -> Array:
    """Return a copy of `value` as an array that a tensor can hold."""
    wanted = None if dtype is None else dtypes.supported(dtype)
    value = _unwrapped(value)
    try:
        if wanted is not None and (given := np.asanyarray(value).dtype).kind not in "biuf":
            raise TypeError(f"{given} is no number, and becomes no {wanted}")
        array: Array = launch(np.array, value)
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
    converted: Array = launch(array.astype, wanted)
    return converted


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
    """Return whether float64 was asked for, as an array or NumPy scalar does, also in a list, but no Python float."""
    if isinstance(value, (list, tuple)):
        return any(map(_holds_float64, value))
    return type(value) not in (int, float, bool) and np.asarray(value).dtype == np.float64
