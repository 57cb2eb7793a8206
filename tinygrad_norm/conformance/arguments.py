"""How a norm that nobody described is called: its arguments are known by the names that the field gives them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from tinygrad_norm.conformance.kinds import NormKind
from tinygrad_norm.derived import DerivedNorm
from tinygrad_norm.dtypes import Shape

ROLES = {
    **dict.fromkeys(("weight", "scale", "gamma", "gain", "w"), "weight"),
    **dict.fromkeys(("bias", "shift", "beta", "offset", "b"), "bias"),
}
EPS = ("eps", "epsilon")
OPTIONAL = {"training": True, "train": True, "use_input_stats": True, "affine": True, "elementwise_affine": True}
NOTHING = ("running_mean", "running_var")


class Bound(NamedTuple):
    """A norm that can be called."""

    function: Callable[..., Any]
    """Takes x and parameters, as tensors of the framework."""
    parameters: dict[str, Shape]
    """Their shapes, by "weight" and "bias"."""
    takes_eps: bool


def bind_function(function: Any, kind: NormKind, shape: Shape, eps: float, columns: bool) -> Bound:
    """Return a function as it is called with an x of this shape; see `Framework.bind`."""
    _, *others = _parameters(function)
    affine = kind.affine(shape)
    known = _settings(kind, shape, eps)
    if kind.groups == 1:
        known |= dict.fromkeys(("axis", "axes", "dim", "dims"), kind.reduced(len(shape)))
    settings, given = {}, {}
    for parameter in others:
        name = parameter.name
        if name in ROLES:
            given[name] = affine if columns else (math.prod(affine),)
        elif name in known:
            settings[name] = known[name]
        elif parameter.default is parameter.empty:
            if name not in NOTHING:
                raise ValueError(f"certify: {_name(function)} has to be told {name}; certify a function that calls it")
            settings[name] = None

    def call(x: Any, *parameters: Any) -> Any:
        return function(x, **dict(zip(given, parameters, strict=True)), **settings)

    return Bound(call, parameter_roles(_name(function), given), any(name in settings for name in EPS))


def arguments_of_class(kind_of_module: type, kind: NormKind, shape: Shape, eps: float) -> tuple[dict[str, Any], bool]:
    """Return what a class of modules is made with, and whether it takes eps; what is not known is the size."""
    known = _settings(kind, shape, eps)
    arguments = {}
    for parameter in _parameters(kind_of_module):
        if parameter.name in known:
            arguments[parameter.name] = known[parameter.name]
        elif parameter.default is parameter.empty:
            arguments[parameter.name] = math.prod(kind.affine(shape))
    return arguments, any(name in arguments for name in EPS)


def parameter_roles(name: str, shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the shapes of parameters by "weight" and "bias", which other names mean as well."""
    roles = {ROLES.get(each.rpartition(".")[2], each): shape for each, shape in shapes.items()}
    if unknown := roles.keys() - {"weight", "bias"}:
        raise ValueError(f"certify: {name} has a parameter {min(unknown)!r}; a norm here has a weight and a bias")
    return roles


def _settings(kind: NormKind, shape: Shape, eps: float) -> dict[str, Any]:
    count = math.prod(kind.affine(shape))
    sizes = dict.fromkeys(("num_features", "num_channels", "channels", "features"), count)
    groups = dict.fromkeys(("num_groups", "groups"), kind.groups) if kind.groups > 1 else {}
    return {"normalized_shape": (count,), **sizes, **groups, **dict.fromkeys(EPS, eps), **OPTIONAL}


def _parameters(what: Any) -> list[inspect.Parameter]:
    """Return the parameters that can be given by name, and the first."""
    try:
        parameters = inspect.signature(what.definition if isinstance(what, DerivedNorm) else what).parameters.values()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"certify: {_name(what)} does not tell its arguments; certify a function that calls it"
        ) from error
    return [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]


def _name(what: Any) -> str:
    return str(getattr(what, "__name__", type(what).__name__))
