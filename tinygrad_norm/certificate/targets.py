"""What is to be certified: a layer or op by name, or somebody's own, and the cases it is certified in."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import math
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from tinygrad_norm import modes, tape
from tinygrad_norm.certificate.case import Case, ResultError, is_differentiated
from tinygrad_norm.certificate.catalog import NO_GRADIENT, OPS, cases_of_layer, layer_cases, layer_names, op_cases
from tinygrad_norm.certificate.enlarge import enlarge
from tinygrad_norm.certificate.extended_precision import ExactNorm
from tinygrad_norm.certificate.first_order import gradients
from tinygrad_norm.checks import did_you_mean, refuse_unknown
from tinygrad_norm.derived import DerivedNorm
from tinygrad_norm.dtypes import Shape
from tinygrad_norm.nn.module import Module
from tinygrad_norm.tensor import Tensor

TRIED_SHAPES: tuple[tuple[int, ...], ...] = ((2, 3, 1, 4), (2, 3, 4), (3, 5))
"""Tried for somebody's own layer or op that comes without inputs."""
PER_CHANNEL = frozenset({"weight", "bias", "gamma", "beta", "scale", "shift", "gain"})
"""Parameters of a function that are taken for vectors, one number for each channel or feature."""
PLACES: dict[int, list[tuple[Shape, tuple[Shape, ...]]]] = {
    0: [((3, 5), ())],
    1: [((3, 5), ((1,),)), ((3, 4, 2), ((0, 2),))],
    2: [((2, 3, 2, 2), ((2, 3), (1,)))],
    3: [((2, 3, 2, 2), ((2, 3), (1,), (0,)))],
}
"""Tried for a derived norm of so many sets of axes: the shape of x, and the sets."""


def name_of(what: Any) -> str:
    """Return the name of what is certified."""
    if isinstance(what, str):
        return what.rpartition(":")[2]
    return str(getattr(what, "__name__", type(what).__name__))


def cases_of(what: Any, inputs: Sequence[Any], rng: Generator, options: Mapping[str, Any] | None = None) -> list[Case]:
    """Return the cases that something is certified in.

    Args:
        what: the name of a layer or an op; "file.py:Name" or "package.module:Name"; a module, its class, an op's
            class, a derived norm, or a function of tensors.
        inputs: arrays, tensors or shapes; without any, they are chosen.
        rng: draws what is random.
        options: keyword arguments of an op, a derived norm or a function.

    Raises:
        ValueError: the name or an option is not known, there is no gradient, or no inputs were found that fit.
    """
    try:
        cases = _small_cases(what, inputs, rng, options or {})
    except ResultError as error:
        raise ValueError(f"certify: {name_of(what)} returns one tensor, got {error}") from error
    if not all(any(map(is_differentiated, case.inputs)) for case in cases):
        raise ValueError(f"certify: no input of {name_of(what)} is of floats, so there is no gradient to check")
    return cases if any(case.larger for case in cases) else [*cases, *filter(None, map(enlarge, cases))]


def _small_cases(what: Any, inputs: Sequence[Any], rng: Generator, options: Mapping[str, Any]) -> list[Case]:
    """Return the cases with the inputs that are given, or chosen."""
    if isinstance(what, str) and ":" not in what:
        return _named(what, [*inputs, *options], rng)
    found = load_target(what) if isinstance(what, str) else what
    _check_options(found, options)
    if not inputs:
        return _guessed(found, options, rng)
    _refuse_count(found, name_of(what), len(inputs))
    return _own(found, [_array(given, rng) for given in inputs], options, rng)


def _named(name: str, inputs: Sequence[Any], rng: Generator) -> list[Case]:
    known = [*layer_names(), *OPS]
    if name in NO_GRADIENT:
        raise ValueError(f"certify: {name} has no gradient that could be wrong")
    if name not in known:
        hint = did_you_mean(name, known) or f" (they are {', '.join(known)})"
        raise ValueError(
            f"certify: {name!r} is no layer or op{hint}; for one of your own: path/to/file.py:Name, or "
            "package.module:Name"
        )
    if inputs:
        raise ValueError(
            f"certify: {name} has inputs and options of its own; give yours to the layer or function itself"
        )
    return layer_cases(name, rng) if name in layer_names() else op_cases(name, rng)


def load_target(target: str, command: str = "certify") -> Any:
    """Return what "file.py:Name" or "package.module:Name" names, for a command. A file is run, as an import runs it.

    Raises:
        ValueError: there is no such file, module or name, or it fails to run.
    """
    place, _, name = target.rpartition(":")
    try:
        module = _run(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except (Exception, SystemExit) as error:  # whatever somebody's file raises
        told = str(error) if str(error).startswith("derive: ") else first_line(error)  # which names a line
        raise ValueError(f"{command}: {place} cannot be imported: {told}") from error
    if not hasattr(module, name):
        raise ValueError(f"{command}: {place} has no {name!r}{did_you_mean(name, vars(module))}")
    return getattr(module, name)


def _run(path: Path) -> Any:
    name = f"certified_{path.stem}"
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def _array(given: Any, rng: Generator) -> Any:
    """Return an input as cases have it: floats in float64, which are differentiated, all others as they are."""
    if isinstance(given, tuple) and all(isinstance(length, int) for length in given):
        return rng.normal(0.3, 1.2, given)
    array = given.raw if isinstance(given, Tensor) else given
    return array.astype(np.float64) if isinstance(array, np.ndarray) and array.dtype.kind == "f" else array


def _own(what: Any, arrays: list[Any], options: Mapping[str, Any], rng: Generator) -> list[Case]:
    """Return the cases of somebody's module or function, with these inputs and options."""
    if isinstance(what, Module):
        return cases_of_layer("", copy.deepcopy(what), arrays, rng)
    if _is_module(what):
        return _built(what, arrays, rng)
    if not callable(what):
        raise ValueError(f"certify: {what!r} is no layer, no op and no function")
    _refuse_missing(what, options)
    if isinstance(what, DerivedNorm):
        return [_of_derived(what, arrays, options)]
    if _is_op(what):
        return [Case("", lambda *given: what()(*given, **options), tuple(arrays))]
    return [Case("", partial(what, **options), tuple(arrays))]


def _of_derived(norm: DerivedNorm, arrays: list[Any], options: Mapping[str, Any]) -> Case:
    """Return the case of a derived norm, without its statistics."""
    given = zip([p.name for p in _parameters(norm)], arrays, strict=False)
    inputs = [each.astype(np.float32) if name in norm.constants else each for name, each in given]

    def function(x: Any, *others: Any) -> Any:
        parameters = [each.astype(x.dtype) if isinstance(each, np.ndarray) else each for each in others]
        found = norm(x, *parameters, **options)
        return found[0] if isinstance(found, tuple) else found

    return Case("", function, tuple(inputs), constants=norm.constants, exact=ExactNorm(norm, options))


def _built(kind: type[Module], arrays: list[Any], rng: Generator) -> list[Case]:
    """Return the cases of a class of modules, built without arguments, or with numbers of channels or features.

    Those of the second input come second, as a layer with a condition has them.
    """
    shape = arrays[0].shape
    problems: list[tuple[bool, Exception]] = []
    for arguments in ((), shape[1:2], shape[-1:], tuple(length for array in arrays for length in np.shape(array)[1:2])):
        layer = None
        try:
            layer = kind(*arguments)
            return cases_of_layer("", layer, arrays, rng)
        except ResultError:
            raise
        except Exception as error:
            problems.append((layer is None, error))
    _, problem = min(problems, key=itemgetter(0))  # what was built and failed says more of what is wrong
    raise ValueError(f"{kind.__name__}: {first_line(problem)}") from problem


def _guessed(what: Any, options: Mapping[str, Any], rng: Generator) -> list[Case]:
    """Return the cases with the first inputs that it takes; a derived norm gets those of each place of its axes."""
    sets: list[str] = []
    if isinstance(what, DerivedNorm):
        sets = [name for name in what.traced.options if name in what.axes]
        required = {p.name for p in _signature(what) if p.default is p.empty}
        options = {"eps": 1e-5, **options} if "eps" in required else options
    if not sets or any(name in options for name in sets):
        _refuse_missing(what, options)
        return _first_taken(what, options, _inputs(what, TRIED_SHAPES, rng), rng)
    _refuse_missing(what, [*options, *sets])
    if len(sets) not in PLACES:
        raise ValueError(f"certify: {name_of(what)} has {len(sets)} sets of axes; say which, as {sets[0]}=(0, 2)")
    cases = []
    for shape, axes in PLACES[len(sets)]:
        placed = dict(zip(sets, axes, strict=True))
        (case,) = _first_taken(what, {**options, **placed}, _inputs(what, [shape], rng), rng)
        cases.append(replace(case, name=", ".join(f"{name}={value}" for name, value in placed.items())))
    return cases


def _first_taken(what: Any, options: Mapping[str, Any], inputs: Iterable[list[Any]], rng: Generator) -> list[Case]:
    """Return the cases with the first inputs with which it runs, as composed too, and goes back.

    A single input has the shape that it has, so one that cannot go back then is a finding, and no bad guess.
    """
    problem: Exception | None = None
    for arrays in inputs:
        try:
            cases = _own(what, arrays, options, rng)
            for case in cases:
                case.call(*case.leaves())
                if len(arrays) > 1:
                    gradients(case, case.leaves())
                    with modes.composed():
                        case.call(*case.leaves())
            return cases
        except ResultError:
            raise
        except Exception as error:  # these inputs are not for it
            problem = error.__cause__ if isinstance(error.__cause__, Exception) else error
    raise ValueError(
        f"certify: no input was found that {name_of(what)} takes ({first_line(problem)}); give the shape of each, with "
        "--shape 2,3,4 on the command line, or certify(what, (2, 3, 4)) in Python"
    )


def _inputs(what: Any, shapes: Iterable[Shape], rng: Generator) -> Iterator[list[Any]]:
    """Yield inputs to try: x, and for other parameters without a default vectors, columns, or what x is."""
    others = [p.name for p in _parameters(what) if p.default is p.empty and p.kind is not p.VAR_POSITIONAL][1:]
    for shape in shapes:
        vectors = [(shape[-1],), (shape[1],), (shape[1], *(1 for _ in shape[2:]))]
        if isinstance(what, DerivedNorm):  # parameters of which broadcast as they are
            vectors.reverse()
        tries = [[shape if "mask" in name else each for name in others] for each in vectors]
        tries += [[each if name in PER_CHANNEL else shape for name in others] for each in vectors]
        for lengths in dict.fromkeys(map(tuple, tries)):
            drawn = [_drawn(name, length, rng) for name, length in zip(others, lengths, strict=True)]
            yield [rng.normal(0.3, 1.2, shape), *drawn]


def _drawn(name: str, shape: Shape, rng: Generator) -> Any:
    """Return numbers for a parameter: variances and masks are positive."""
    return rng.uniform(0.5, 2, shape) if "var" in name or "mask" in name else rng.normal(0.7, 0.6, shape)


def _parameters(what: Any) -> list[inspect.Parameter]:
    """Return the parameters that are given by position."""
    return [p for p in _signature(what) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]


def _signature(what: Any) -> list[inspect.Parameter]:
    """Return the parameters of a function, or of what a layer, an op or a derived norm computes; none if unknown."""
    inside = _is_module(what) or _is_op(what)
    called = what.definition if isinstance(what, DerivedNorm) else what.forward if inside else what
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):  # no Python function
        return []
    return parameters[1:] if inside and isinstance(what, type) else parameters  # without self


def _refuse_count(what: Any, name: str, count: int) -> None:
    """Refuse fewer inputs, or more, than are taken."""
    parameters = _parameters(what)
    needed = sum(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in parameters)
    most = math.inf if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(parameters)
    if parameters and not needed <= count <= most:
        names = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
        raise ValueError(f"certify: {name} takes {names}; {count} input{'' if count == 1 else 's'} given")


def _check_options(what: Any, options: Mapping[str, Any]) -> None:
    """Refuse options of a module, and those that a function does not have."""
    if options and (_is_module(what) or not callable(what)):
        raise ValueError(f"certify: options are those of a function; give {name_of(what)} made with them")
    parameters = _signature(what)
    if all(p.kind is not p.VAR_KEYWORD for p in parameters):
        known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        try:
            refuse_unknown(f"certify: {name_of(what)}", options, known)
        except TypeError as error:
            raise ValueError(str(error)) from None


def _refuse_missing(what: Any, given: Iterable[str]) -> None:
    """Refuse what has to be told more than its inputs and the options that are given."""
    known = {*given}
    settings = [p.name for p in _signature(what) if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if wanting := [name for name in settings if name not in known]:
        name, first = name_of(what), wanting[0]
        raise ValueError(
            f"certify: {name} has to be told {', '.join(wanting)}; give --option {first}=... on the command line, or "
            f"certify(what, {first}=...) in Python"
        )


def first_line(error: BaseException | None) -> str:
    """Return what an error says, in a line."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", 120, placeholder="...")


def _is_module(what: Any) -> bool:
    return isinstance(what, Module) or (isinstance(what, type) and issubclass(what, Module))


def _is_op(what: Any) -> bool:
    return isinstance(what, type) and issubclass(what, tape.Op)
