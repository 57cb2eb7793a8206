"""Module: a function with state, made of parameters, buffers and other modules; Parameter: what training changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from tinygrad_norm import generation, modes
from tinygrad_norm.checks import RefusesUnknownKeywords, check_flag, check_float_dtype, check_type, did_you_mean
from tinygrad_norm.dtypes import DTypeOrNone, beyond
from tinygrad_norm.nn.state import IncompatibleKeys, load_into
from tinygrad_norm.nn.summary import summary
from tinygrad_norm.tensor import Tensor, forget_gradients

T = TypeVar("T")


class Parameter(Tensor):
    """A tensor that training changes: a module that it is assigned to finds it by itself.

    Raises:
        TypeError: the data is not of floating type.

    Example:
        >>> nn.Parameter([1.0, 2.0])
        Tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, dtype: DTypeOrNone = None) -> None:
        super().__init__(data, requires_grad=requires_grad, dtype=dtype)


def float_dtype(dtype: DTypeOrNone) -> np.dtype[Any]:
    """Return the dtype of a layer's parameters: float32 or float64, and float32 where None is given.

    Raises:
        TypeError: it is something else.
    """
    return check_float_dtype("dtype", np.float32 if dtype is None else dtype)


class HookHandle:
    """The way to take a hook away again: `remove()`, or the end of a `with` block."""

    def __init__(self, hooks: dict[object, Any], hook: Callable[..., Any]) -> None:
        check_type("a hook", hook, Callable, "callable")
        self._hooks, self._key = hooks, object()
        hooks[self._key] = hook
        generation.advance()

    def remove(self) -> None:
        """Take the hook away; a second time changes nothing."""
        self._hooks.pop(self._key, None)
        generation.advance()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class Module(RefusesUnknownKeywords):
    """Base of all layers and models: assign parameters and modules as attributes, and define `forward`.

    A module's attributes are its state: each Parameter, each Module, and each Tensor that `register_buffer` named.
    Their names, joined by dots, are the keys of `state_dict`. On the tape a module goes by the name its parent
    gave it; one with two parents, by the name it was given last.

    Example:
        >>> class Scale(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.factor = nn.Parameter(2.0)
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> scale = Scale()
        >>> scale(Tensor([1.0, 2.0])), [*scale.state_dict()]
        (Tensor([2., 4.], creator=Multiply), ['factor'])
    """

    raises_generation = ("_persistent", "_forward_pre_hooks", "_forward_hooks")
    """What changes of attributes raise the generation; those of these dicts do too."""
    training: bool
    _scope: str  # the name by which the parent calls this module
    _persistent: dict[str, bool]  # names of the buffers, and whether state_dict holds them
    _forward_pre_hooks: dict[object, Callable[[Any, tuple[Any, ...]], Any]]
    _forward_hooks: dict[object, Callable[[Any, tuple[Any, ...], Any], Any]]

    if TYPE_CHECKING:  # attributes come by register_buffer and from mappings too, where no type checker sees them

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        vars(self).update(training=True, _scope="", _persistent={}, _forward_pre_hooks={}, _forward_hooks={})

    # Calling

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; each module defines its own."""
        raise TypeError(f"{type(self).__name__} has no forward(): it cannot be called, only its modules can")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the hooks around `forward`, which runs in this module's scope of the tape."""
        for pre_hook in tuple(self._forward_pre_hooks.values()) if self._forward_pre_hooks else ():
            changed = pre_hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        scope = modes.enter_scope(self._scope)
        try:
            output = self.forward(*args, **kwargs)
        finally:
            modes.leave_scope(scope)
        for hook in tuple(self._forward_hooks.values()) if self._forward_hooks else ():
            changed = hook(self, args, output)
            output = output if changed is None else changed
        return output

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> HookHandle:
        """Call hook(module, args) before each forward; what it returns, unless None, takes the place of the args."""
        return HookHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> HookHandle:
        """Call hook(module, args, output) after each forward; what it returns, unless None, becomes the output."""
        return HookHandle(self._forward_hooks, hook)

    @property
    def scope_name(self) -> str:
        """The name by which the module around this one calls it, and which it goes by on the tape."""
        return self._scope

    @property
    def has_hooks(self) -> bool:
        """Whether a hook is called before or after forward."""
        return bool(self._forward_pre_hooks or self._forward_hooks)

    # Attributes

    def __copy__(self) -> Self:
        """Return a module of the same parameters, buffers and modules, with names and hooks of its own."""
        copied = type(self).__new__(type(self))
        own = ("_persistent", "_forward_pre_hooks", "_forward_hooks")
        vars(copied).update(vars(self), **{name: {**vars(self)[name]} for name in own})
        return copied

    def __setattr__(self, name: str, value: Any) -> None:
        if "_persistent" not in vars(self):
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        self._check_replacement(name, value)
        if isinstance(value, Parameter | Module):
            self._check_name(name)
        if isinstance(value, Module):
            self._adopt(name, value)
        super().__setattr__(name, value)
        generation.advance()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._persistent.pop(name, None)
        generation.advance()

    def _check_replacement(self, name: str, value: Any) -> None:
        """Refuse what would silently turn a parameter, buffer or module into an ordinary attribute."""
        old = vars(self).get(name)
        if name in self._persistent:
            self._check_kind(name, "buffer", value)
        elif isinstance(old, Parameter | Module):
            self._check_kind(name, "Parameter" if isinstance(old, Parameter) else "Module", value)

    def _check_kind(self, name: str, kind: str, value: Any) -> None:
        wanted, fits = _KINDS[kind]
        if value is not None and not fits(value):
            raise TypeError(
                f"{type(self).__name__}.{name} is a {kind}: assign {wanted}, or None; got {type(value).__name__}"
            )

    def _check_name(self, name: str) -> None:
        if not name or "." in name:
            raise ValueError(f"{type(self).__name__}: a name is without dots and not empty, got {name!r}")
        if isinstance(getattr(type(self), name, None), FunctionType):
            raise ValueError(f"{type(self).__name__}: {name!r} is the name of one of its methods; choose another")

    def _adopt(self, name: str, child: Module) -> None:
        # a module that nobody has given a name to yet is inside of no other
        if child is self or (self._scope and any(module is self for module in child.modules())):
            raise ValueError(
                f"{type(self).__name__}.{name}: a module cannot contain itself; to point back, use a weakref"
            )
        child._rename(_join("" if self._is_called() else self._scope, name))

    def _rename(self, scope: str) -> None:
        vars(self)["_scope"] = scope
        if not self._is_called():
            for name, child in self._own_modules().items():
                child._rename(_join(scope, name))

    def _is_called(self) -> bool:
        """Return whether this module opens a scope; one without a forward only lends its name to those inside."""
        return type(self).forward is not Module.forward

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Name a tensor that is state but no parameter, such as a running mean; None keeps the name for later.

        Args:
            name: the attribute.
            tensor: its value.
            persistent: whether `state_dict` holds it.

        Raises:
            TypeError: neither a Tensor nor None; a Parameter, or a tensor that wants a gradient.
            ValueError: the name is taken or cannot be one.
        """
        self._check_name(name)
        if name in vars(self) and name not in self._persistent:
            raise ValueError(f"{type(self).__name__}.register_buffer: {name!r} is an attribute already")
        self._check_kind(name, "buffer", tensor)
        self._persistent[name] = persistent
        setattr(self, name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Assign a module under a name that need not be an identifier, such as "0"; None empties the place.

        Raises:
            TypeError: neither a Module nor None.
            ValueError: the name cannot be one.
        """
        self._register(name, "Module", module)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Assign a parameter under a name; None says that there is none.

        Raises:
            TypeError: neither a Parameter nor None.
            ValueError: the name cannot be one.
        """
        self._register(name, "Parameter", parameter)

    def _register(self, name: str, kind: str, value: Any) -> None:
        self._check_name(name)
        self._check_kind(name, kind, value)
        setattr(self, name, value)

    # What is inside

    def _own_parameters(self) -> dict[str, Parameter]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Parameter)}

    def _own_buffers(self) -> dict[str, Tensor]:
        return {name: vars(self)[name] for name in self._persistent if vars(self)[name] is not None}

    def _own_modules(self) -> dict[str, Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def _own_state(self) -> dict[str, Tensor]:
        buffers = {name: buffer for name, buffer in self._own_buffers().items() if self._persistent[name]}
        return {**self._own_parameters(), **buffers}

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """Yield (path, module) for this module and all inside it, parents first; shared ones once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if remove_duplicate and id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            stack += [(_join(path, name), child) for name, child in reversed(module._own_modules().items())]

    def _named(
        self, own: Callable[[Module], Mapping[str, T]], prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, T]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix, remove_duplicate) if recurse else ((prefix, self),):
            for name, value in own(module).items():
                if not (remove_duplicate and id(value) in seen):
                    seen.add(id(value))
                    yield _join(path, name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield (path, parameter) for each parameter; shared ones once."""
        return self._named(Module._own_parameters, prefix, recurse, remove_duplicate)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield (path, buffer) for each buffer; shared ones once."""
        return self._named(Module._own_buffers, prefix, recurse, remove_duplicate)

    def named_children(self, remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """Yield (name, module) for each module directly inside; shared ones once."""
        return self._named(Module._own_modules, "", False, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield each parameter; shared ones once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield each buffer; shared ones once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def modules(self) -> Iterator[Module]:
        """Yield this module and all inside it, parents first; shared ones once."""
        return (module for _, module in self.named_modules())

    def children(self) -> Iterator[Module]:
        """Yield each module directly inside; shared ones once."""
        return (module for _, module in self.named_children())

    def get_submodule(self, path: str) -> Module:
        """Return the module at a path such as "layers.0.norm"; the empty path is this module.

        Raises:
            AttributeError: there is none.
        """
        module = self
        for name in path.split(".") if path else ():
            inside = module._own_modules()
            if name not in inside:
                hint = did_you_mean(name, inside)
                raise AttributeError(f"get_submodule({path!r}): {type(module).__name__} has no module {name!r}{hint}")
            module = inside[name]
        return module

    # Changing all at once

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all inside it to training, or with False to inference; return this module.

        A `training.Trainer` leaves parts in inference that were put there for themselves, while others train.
        """
        check_flag("train: mode", mode)
        stack: list[Module] = [self]
        while stack:
            module = stack.pop()
            if module is self or type(module).train is Module.train:
                module.training = mode
                stack += module._own_modules().values()
            else:  # a module with a train() of its own decides for itself and for what is inside it
                module.train(mode)
        return self

    def eval(self) -> Self:
        """Switch this module and all inside it to inference; return this module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say whether the parameters want gradients; return this module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or with False make zeros of them."""
        forget_gradients([*self.parameters()], set_to_none)

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call function(module) on this module and all inside it, children before parents; return this module."""
        backwards: list[Module] = []
        stack: list[Module] = [self]
        while stack:
            backwards.append(stack.pop())
            stack += backwards[-1]._own_modules().values()
        for module in dict.fromkeys(reversed(backwards)):
            function(module)
        return self

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Convert the floating parameters, their gradients and the buffers, in place; return this module.

        Raises:
            TypeError: the dtype is neither float32 nor float64.
            ValueError: a value is beyond the dtype; nothing has changed.
        """
        wanted = check_float_dtype("astype: dtype", dtype)
        tensors = dict((*self.named_parameters(), *self.named_buffers()))
        for name, tensor in tensors.items():
            for part, array in ((name, tensor), (f"the gradient of {name}", tensor.grad)):
                if array is not None and array.dtype.kind == "f" and (lost := beyond(array.raw, wanted)):
                    raise ValueError(f"astype: {part} {lost}")
        for tensor in tensors.values():
            if tensor.dtype.kind == "f":
                tensor.replace(tensor.raw.astype(wanted))
            if tensor.grad is not None:
                tensor.grad = Tensor(tensor.grad.raw, dtype=wanted)
        return self

    # State

    def _state(self) -> dict[str, Tensor]:
        return dict(self._named(Module._own_state, "", recurse=True, remove_duplicate=False))

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of all parameters and persistent buffers, by path; shared ones under each of their paths."""
        return {path: tensor.raw.copy() for path, tensor in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Take over the arrays of a mapping like the one `state_dict` returns: all of them, or on an error none.

        Args:
            state_dict: path to array (or tensor); each is copied and takes on the dtype of the tensor it fills.
            strict: refuse missing and unexpected keys; otherwise they are only returned.

        Raises:
            ValueError: names every missing key, unexpected key, wrong shape, wrong kind of dtype, value beyond the
                dtype, and shared tensor for which different arrays are given.
        """
        given = state_dict
        if isinstance(state_dict, Mapping):
            given = dict(state_dict)
            for path, module in self.named_modules(remove_duplicate=False):
                module._fill_in(given, f"{path}." if path else "")
        return load_into(self._state(), given, strict, owner=type(self).__name__)

    def _fill_in(self, state: dict[str, Any], prefix: str) -> None:
        """Add what files of older versions lack of this module's own state; most modules need nothing."""

    # Reading

    def extra_repr(self) -> str:
        """Return what stands between the parentheses of this module's repr."""
        return ""

    def __repr__(self) -> str:
        lines: list[str] = []
        stack: list[tuple[int, str, Module | None]] = [(0, "", self)]
        while stack:
            depth, label, module = stack.pop()
            indent = "  " * depth
            if module is None:  # the end of a module with others inside
                lines.append(f"{indent})")
                continue
            head, extra, inside = f"{indent}{label}{type(module).__name__}(", module.extra_repr(), module._own_modules()
            if not inside:
                lines.append(f"{head}{extra})")
                continue
            lines += [head, f"{indent}  {extra}"] if extra else [head]
            stack.append((depth, "", None))
            stack += [(depth + 1, f"({name}): ", child) for name, child in reversed(inside.items())]
        return "\n".join(lines)

    def summary(self, *inputs: Any) -> str:
        """Return a table of the modules: path, type, output shape, parameters; below it the totals.

        After the type stands in brackets where a module is in another mode than the one around it ("eval" for a part
        that stays in inference through training), and "frozen" where a norm's switch of that name is set.

        Args:
            inputs: what to call the model with, arrays or shapes (tuples, tried with zeros); without any, the
                table leaves out the output shapes. The model runs in inference and is left as it was.
        """
        return summary(self, *inputs)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _can_be_buffer(value: Any) -> bool:
    return isinstance(value, Tensor) and not (isinstance(value, Parameter) or value.requires_grad)


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {  # what may take the place of each, in words and as a test
    "Parameter": ("a Parameter(...), or write the array to its .data", lambda value: isinstance(value, Parameter)),
    "buffer": ("a Tensor that wants no gradient (see detach), or write the array to its .data", _can_be_buffer),
    "Module": ("a Module", lambda value: isinstance(value, Module)),
}
