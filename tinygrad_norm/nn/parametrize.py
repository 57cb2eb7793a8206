"""Parametrizations: a parameter that modules compute, at each access, from the originals that training changes.

After `register_parametrization(layer, "weight", module)`, training changes `layer.parametrizations.weight.original`,
and `layer.weight` is module(original), on the tape. `layer.weight = w` sets the original to `module.right_inverse(w)`:
what the module makes w of, as far as it can make w at all. Names, meaning and state keys are PyTorch's.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any

from tinygrad_norm.checks import check_flag, check_type, did_you_mean
from tinygrad_norm.modes import is_recording, no_grad
from tinygrad_norm.nn.containers import ModuleList
from tinygrad_norm.nn.module import Module, Parameter
from tinygrad_norm.settings import Block, Setting
from tinygrad_norm.tensor import Tensor

Values = dict[tuple["ParametrizationList", bool], Tensor]

_values: Setting[Values | None] = Setting("tinygrad_norm.parametrized", None)
"""What was computed in the outermost `cached()` so far, recorded and not."""


class Parametrizations(Module):
    """The lists of a module, by the names of its parameters; on the tape they go by these names alone.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> layer.parametrizations
        Parametrizations(
          (weight): ParametrizationList(
            (0): WeightNorm(dim=0)
          )
        )
    """

    def _rename(self, scope: str) -> None:
        super()._rename(scope.removesuffix("parametrizations").removesuffix("."))


class ParametrizationList(ModuleList):
    """The parametrizations of one parameter, in order, and the originals that the first of them is given.

    Where `right_inverse` returns a tensor, or there is none, it is `original`, the parameter that the layer had, which
    an optimizer goes on with. A tuple of tensors becomes parameters original0, original1 and so on, which are new.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> len(layer.parametrizations.weight), layer.parametrizations.weight.original0.shape
        (1, (2, 1))
    """

    def __init__(self, parametrization: Module, name: str, parameter: Parameter) -> None:
        super().__init__([parametrization])
        self.shape = parameter.shape
        inverse = getattr(parametrization, "right_inverse", None)
        with no_grad():
            found = parameter if inverse is None else inverse(parameter)
            given = found if isinstance(found, tuple | list) else (found,)
            _check_result(parametrization, name, parametrization(*given), parameter)
        if found is given:
            for number, value in enumerate(given):
                setattr(self, f"original{number}", Parameter(value.raw.copy(), parameter.requires_grad))
        else:
            parameter.replace(found.raw.copy())
            self.original = parameter

    def originals(self) -> list[Parameter]:
        """Return what the first parametrization is given."""
        return [value for name, value in vars(self).items() if name.startswith("original")]

    def gains(self) -> list[Parameter]:
        """Return the originals that are vectors along an axis beside a larger one: the lengths of weight norm."""
        originals = self.originals()
        largest = max(original.size for original in originals)
        return [each for each in originals if each.size < largest and each.size == max(each.shape, default=1)]

    def forward(self) -> Tensor:
        """Compute the parameter; inside `cached()`, only where that was not done before."""
        values, key = _values.get(), (self, is_recording())
        if values is not None and key in values:
            return values[key]
        first, *others = self
        value: Tensor = first(*self.originals())
        for parametrization in others:
            value = parametrization(value)
        if values is not None:
            values[key] = value
        return value

    def assign(self, name: str, value: Any) -> None:
        """Set the originals to those of which the parametrizations make a value.

        Raises:
            TypeError: it is no Tensor.
            ValueError: it has another shape or dtype, or a parametrization has no `right_inverse`.
        """
        check_type(name, value, Tensor, "a Tensor, for it is parametrized")
        if value.shape != self.shape:
            raise ValueError(f"{name} has shape {self.shape}, got {value.shape}")
        with no_grad():
            for parametrization in reversed(list(self)):
                if not hasattr(parametrization, "right_inverse"):
                    raise ValueError(f"{name}: {type(parametrization).__name__} has no right_inverse(), so it stays")
                value = parametrization.right_inverse(value)
        pairs = list(zip(self.originals(), value if isinstance(value, tuple | list) else (value,), strict=True))
        for original, found in pairs:
            _check_like(f"{name}: its original has", found, original)
        for original, found in pairs:
            original.replace(found.raw.copy())
        if (values := _values.get()) is not None:
            values.clear()


def register_parametrization(module: Module, name: str, parametrization: Module) -> Module:
    """Have a module compute one of a layer's parameters, from then on; return the layer.

    A second one is given what the first returns, and so on.

    Args:
        module: the layer, changed in place, or on an error not at all; its class becomes one derived from it.
        name: of the parameter.
        parametrization: called with the original(s), it returns the parameter; it may have a `right_inverse(value)`,
            which returns the original, or several in a tuple.

    Raises:
        TypeError: one is no Module, or the parametrization returns no Tensor.
        ValueError: the layer has no such parameter, or the parametrization changes its shape or dtype, or takes several
            originals where another one comes first.

    Source: PyTorch 2.13, torch.nn.utils.parametrize.

    Example:
        >>> class Positive(nn.Module):
        ...     def forward(self, w):
        ...         return ops.exp(w)
        ...     def right_inverse(self, w):
        ...         return ops.log(w)
        >>> layer = nn.Linear(2, 1)
        >>> layer.weight.replace(np.array([[1.0, 2.0]], "float32"))
        >>> layer = nn.parametrize.register_parametrization(layer, "weight", Positive())
        >>> print(layer.weight.numpy().round(3), layer.parametrizations.weight.original.numpy().round(3))
        [[1. 2.]] [[0.    0.693]]
    """
    parameter = parameter_of(module, name)
    check_type("register_parametrization: parametrization", parametrization, Module, "a Module")
    parametrization.train(module.training)
    if is_parametrized(module, name):
        _check_second(module, name, parametrization)
        with no_grad():
            _check_result(parametrization, name, parametrization(parameter), parameter)
        _list_of(module, name).append(parametrization)
        return module
    computing = ParametrizationList(parametrization, name, parameter)
    delattr(module, name)
    if not is_parametrized(module):
        module.parametrizations = Parametrizations()
    setattr(module.parametrizations, name, computing)
    module.parametrizations.train(module.training)
    _choose_class(module)
    return module


def parameter_of(module: Module, name: str) -> Any:
    """Return a module's own Parameter of that name, or what its parametrizations compute.

    Raises:
        TypeError: it is no Module, or the name is no text.
        ValueError: there is none.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> nn.parametrize.parameter_of(layer, "weight").shape
        (2, 3)
    """
    check_type("a parametrization's module", module, Module, "a Module")
    _check_name(name)
    own = dict(module.named_parameters(recurse=False))
    if name in own or is_parametrized(module, name):
        return getattr(module, name)
    has = f"{', '.join(own) or 'none'}{did_you_mean(str(name), own)}"
    raise ValueError(f"{type(module).__name__}: a parametrization takes one of its parameters, {has}, got {name!r}")


def is_parametrized(module: Module, name: str | None = None) -> bool:
    """Return whether a module's parameter of that name is parametrized, or, without a name, any of its own.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> nn.parametrize.is_parametrized(layer, "weight"), nn.parametrize.is_parametrized(layer, "bias")
        (True, False)
    """
    names = getattr(type(module), "_parametrized", ())
    return name in names if name is not None else bool(names)


def remove_parametrizations(module: Module, name: str, leave_parametrized: bool = True) -> Module:
    """Make a parametrized parameter an ordinary one again; return the layer.

    Args:
        module: the layer, changed in place.
        name: of the parameter.
        leave_parametrized: whether it gets the value that was computed last, or that of the only original. Computing it
            in training, spectral norm takes another power iteration, as in PyTorch.

    Returns:
        The layer. Where there was one original, the parameter is that one, which an optimizer knows; of several, new.

    Raises:
        TypeError: the layer is no Module, or the name is no text.
        ValueError: it is not parametrized, or there are several originals and none of them is to be kept as it is.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> [name for name, _ in nn.parametrize.remove_parametrizations(layer, "weight").named_parameters()]
        ['bias', 'weight']
    """
    check_type("remove_parametrizations: module", module, Module, "a Module")
    check_flag("remove_parametrizations: leave_parametrized", leave_parametrized)
    _check_name(name)
    if not is_parametrized(module, name):
        raise ValueError(
            f"remove_parametrizations: name is a parametrized parameter of {type(module).__name__}, got {name!r}"
        )
    computing = _list_of(module, name)
    originals = computing.originals()
    parameter = getattr(computing, "original", None)
    if parameter is None and not leave_parametrized:
        raise ValueError(
            f"remove_parametrizations: leave_parametrized=False takes a parameter made of one original, and {name} is "
            f"made of {len(originals)}"
        )
    if leave_parametrized:
        with no_grad():
            value = computing().raw.copy()
        if parameter is None:
            parameter = Parameter(value, any(original.requires_grad for original in originals))
        else:
            parameter.replace(value)
    delattr(module.parametrizations, name)
    _choose_class(module)
    setattr(module, name, parameter)
    return module


def cached() -> Block:
    """Compute each parametrized parameter once in a `with` block, where a forward pass takes it more than once.

    What was computed without recording does not serve where ops are recorded. An optimizer's step belongs outside of
    the block, for what was computed stays; an assignment has all computed again.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> with nn.parametrize.cached():
        ...     print(layer.weight is layer.weight)
        True
        >>> layer.weight is layer.weight
        False
    """
    return Block(_values, lambda outside: {} if outside is None else outside)


def parametrized(model: Module) -> Iterator[tuple[Module, str]]:
    """Yield each parametrized parameter in a model: its module and its name.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.parametrizations.weight_norm(nn.Linear(2, 2)))
        >>> [(type(module).__name__, name) for module, name in nn.parametrize.parametrized(model)]
        [('ParametrizedLinear', 'weight')]
    """
    check_type("a parametrized model", model, Module, "a Module")
    for module in list(model.modules()):
        for name in getattr(type(module), "_parametrized", ()):
            yield module, name


def _list_of(module: Module, name: str) -> Any:
    return getattr(module.parametrizations, name)


def _check_name(name: Any) -> None:
    check_type("a parametrized parameter's name", name, str, "a text")


def _check_result(parametrization: Module, name: str, value: Any, like: Tensor) -> None:
    owner = f"register_parametrization: {type(parametrization).__name__}"
    check_type(f"{owner}: what it returns", value, Tensor, "a Tensor")
    _check_like(f"{owner} makes a {name} of", value, like)


def _check_second(module: Module, name: str, parametrization: Module) -> None:
    """Refuse a parametrization of several originals behind others, which return one tensor."""
    try:
        inspect.signature(parametrization.forward).bind(None)
    except TypeError:
        first, own = type(_list_of(module, name)[0]).__name__, type(parametrization).__name__
        raise ValueError(
            f"register_parametrization: {own} makes a {name} of several originals, so it comes first, got one behind "
            f"{first}; remove_parametrizations(module, {name!r}) takes that away"
        ) from None


def _check_like(words: str, value: Tensor, like: Tensor) -> None:
    if (value.shape, value.dtype) != (like.shape, like.dtype):
        raise ValueError(f"{words} shape {like.shape} and dtype {like.dtype}, got {value.shape}, {value.dtype}")


def _choose_class(module: Module) -> None:
    """Give a module the class that has a property for each of its parametrized parameters, or its own back."""
    kind: Any = type(module).__base__ if is_parametrized(module) else type(module)
    names = tuple(name for name, _ in module.parametrizations.named_children(remove_duplicate=False))
    if not names:
        del module.parametrizations
    module.__class__ = _with_properties(kind, names) if names else kind


@cache
def _with_properties(kind: type[Module], names: tuple[str, ...]) -> type[Module]:
    """Return a class derived from `kind`; copies of a module share it, so it never changes."""
    own = {"__module__": kind.__module__, "_parametrized": names, "__reduce_ex__": _reduced}
    made = type(f"Parametrized{kind.__name__}", (kind,), own)
    for name in names:
        setattr(made, name, _property(kind.__name__, name))
    return made


def _reduced(module: Module, protocol: int) -> tuple[Any, ...]:
    """Tell copy, and pickle, how a module is made whose class no module has by name."""
    kind: Any = type(module)
    return _made, (kind.__base__, kind._parametrized), vars(module).copy()


def _made(kind: Any, names: tuple[str, ...]) -> Module:
    return object.__new__(_with_properties(kind, names))


def _property(owner: str, name: str) -> property:
    def get(module: Module) -> Any:
        return _list_of(module, name)()

    def assign(module: Module, value: Any) -> None:
        _list_of(module, name).assign(f"{owner}.{name}", value)

    return property(get, assign, doc="What the parametrizations compute; assign what they should make.")
