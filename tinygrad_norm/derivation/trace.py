"""Tracing: a definition run once, with symbols."""

from __future__ import annotations

import ast
import inspect
import linecache
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tinygrad_norm.derivation import symbols
from tinygrad_norm.derivation.expression import REDUCTIONS, Expression, symbol, tracing, walk, written
from tinygrad_norm.derivation.rules import RULES

LETTERS = {"mean": "μ", "mu": "μ", "var": "σ²", "eps": "ε", "weight": "γ", "gamma": "γ", "bias": "β", "beta": "β"}
"""Names for which the field has a letter."""


POINTWISE = frozenset({*RULES, "operator"})


class Traced(NamedTuple):
    """What a definition is made of."""

    name: str
    x: Expression
    parameters: tuple[Expression, ...]
    options: tuple[str, ...]
    y: Expression
    statistics: tuple[Expression, ...]
    """What it returns beside y."""
    names: dict[Expression, str]
    """What the definition calls its statistics, and others that have no name there s1, s2, …; first the parameters and
    options of which another one would have the letter."""
    given: tuple[Expression, ...] = ()
    """Statistics that it does not take of x but is given."""
    data: tuple[Expression, ...] = ()
    """Parameters that have a value for each one of x, as a mask, and no gradient."""
    terms: Mapping[Expression, str] = MappingProxyType({})
    """What else the definition gives a name and uses more than once."""


def trace(definition: Callable[..., Any], given: tuple[str, ...] = (), data: tuple[str, ...] = ()) -> Traced:
    """Run a definition once, with symbols.

    Args:
        definition: `definition(x, *parameters, *, axes, eps)`; one without statistics has no axes.
        given: the names of parameters that are statistics of the values that share them.
        data: those of parameters that have a value for each one of x, and no gradient.

    Raises:
        ValueError: it is not `definition(x, *parameters, *, axes, eps)`, branches on values, or uses what no norm is
            made of; the error names the line.
    """
    if not hasattr(getattr(definition, "func", definition), "__code__"):  # a partial of one is one
        raise TypeError(f"derive: a definition is a function in Python, got {definition!r}")
    kinds = inspect.Parameter
    signature = inspect.signature(definition).parameters.values()
    plain = [each.name for each in signature if each.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    options = [each.name for each in signature if each.kind is kinds.KEYWORD_ONLY]
    name = getattr(definition, "__name__", "definition")
    by_position = not options and (len(plain) == 1 or any(each.default is not each.empty for each in signature))
    if not plain or len(plain) + len(options) < len(signature) or by_position:
        found = f"{name}{inspect.signature(definition)}"
        raise ValueError(f"derive: a definition is {name}(x, *parameters, *, axes, eps), got {found}")
    if "view" in options:
        raise ValueError(f"derive: {name} has an option view, which is one of every derived norm; give it another name")
    special = dict.fromkeys(given, "given") | dict.fromkeys(data, "data") | {plain[0]: "x"}
    kinds_of = [special.get(each, "parameter") for each in plain]
    x, *parameters = map(symbol, kinds_of, ["x", *plain[1:]])
    token, running, lines = symbols.created.set({}), tracing.set(True), written.set({})
    try:
        found = definition(x, *parameters, **{each: symbol("option", each) for each in options})
        taken = {"g", "y", "A", *plain, *options}
        names = _names(symbols.created.get(), taken)
        terms = _terms(definition, written.get() or {}, taken)
        names = _sharing(names, [*parameters, *(symbol("option", each) for each in options)]) | names
    except Exception as error:
        told = str(error).replace("'Expression' object", "a value").replace("'Expression'", "a value")
        raise ValueError(f"derive: {name}, {_line_of(definition, error)}: {told}") from error
    finally:
        tracing.reset(running)
        symbols.created.reset(token)
        written.reset(lines)
    y, *statistics = found if isinstance(found, tuple) else (found,)
    if not all(isinstance(each, Expression) for each in statistics):
        told = next(each for each in statistics if not isinstance(each, Expression))
        raise ValueError(f"derive: {name} returns y, or (y, *statistics) that it took of x, got {told!r}")
    if not isinstance(y, Expression) or x not in {*walk(y)} or y.reduced:
        got = type(y).__name__
        if isinstance(y, Expression):
            got = f"length 1 along {', '.join(sorted(y.reduced))}" if x in {*walk(y)} else "nothing of x"
        raise ValueError(f"derive: {name} returns what has the shape of x, or (that, *statistics), got {got}")
    _check_options(name, options, [y, *statistics])
    plain_ones, held, whole = (
        tuple(each for each in parameters if each.op == kind) for kind in ("parameter", "given", "data")
    )
    return Traced(name, x, plain_ones, tuple(options), y, tuple(statistics), names, held, whole, _repeated(terms, y))


def _check_options(name: str, options: list[str], results: list[Expression]) -> None:
    """Refuse an option that is not used, and one that names axes and is a number elsewhere."""
    nodes = [*walk(*results)]
    axes = {each for node in nodes if node.op in REDUCTIONS for each in node.value}
    numbers = {node.value for node in nodes if node.op == "option"}
    for each in options:
        if each not in axes | numbers:
            raise ValueError(f"derive: {name} uses all of its options, got {each}, which is not in what it returns")
        if each in axes & numbers:
            raise ValueError(f"derive: {name} takes {each} for axes, or for a number, got one that is both")


def _sharing(names: dict[Expression, str], inputs: list[Expression]) -> dict[Expression, str]:
    """The names of the inputs that have the letter of another one, or of a statistic."""
    every = Counter(LETTERS.get(each, each) for each in {*names.values(), *(str(each.value) for each in inputs)})
    return {each: str(each.value) for each in inputs if every[LETTERS.get(str(each.value), "")] > 1}


def _line_of(definition: Callable[..., Any], error: Exception) -> str:
    """The line of the definition that an error came from."""
    file = inspect.getsourcefile(getattr(definition, "func", definition))
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"line {lines[-1].lineno} ({lines[-1].line})" if lines else "called"


def _names(created: dict[Expression, tuple[str, int]], taken: set[str]) -> dict[Expression, str]:
    """The names that the code gives its reductions; s1, s2, … for those that it gives none, or one that is taken."""
    assigned = {file: _assigned(file) for file, _ in created.values()}
    names: dict[Expression, str] = {}
    for i, (node, (file, line)) in enumerate(created.items(), 1):
        name = assigned[file].get(line, f"s{i}")
        names[node] = f"s{i}" if name in taken else name
        taken.add(names[node])
    return names


def _terms(
    definition: Callable[..., Any], made: dict[tuple[str, int], Expression], taken: set[str]
) -> dict[Expression, str]:
    """The names that the definition's file gives to functions of each element, each to one alone."""
    file = getattr(getattr(inspect.unwrap(definition), "__code__", None), "co_filename", "")
    lines = _assigned(file, POINTWISE) if file else {}
    known = [(made[file, line], name) for line, name in lines.items() if (file, line) in made and name not in taken]
    times = Counter(name for _, name in known)
    return {node: name for node, name in known if times[name] == 1}


def _repeated(terms: dict[Expression, str], y: Expression) -> dict[Expression, str]:
    """Those of the terms that a formula of y would write more than once, were each not written by its name."""
    times = Counter([y])
    found = {}
    for node in reversed([*walk(y)]):
        if node in terms and times[node] > 1:
            found[node] = terms[node]
        once = node in found or node.op in REDUCTIONS
        times.update({each: (1 if once else times[node]) * node.inputs.count(each) for each in {*node.inputs}})
    return found


def _assigned(file: str, functions: Collection[str] = REDUCTIONS) -> dict[int, str]:
    """The lines of a file where the result of one of these functions is given a name, and that name."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:  # a document, or a cell, whose code is only a part of it
        return {}
    return {
        node.lineno: node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _function(node.value) in functions
    }


def _function(value: ast.expr) -> str:
    """The name of the function that an expression calls last, as an attribute of a namespace or an operator."""
    if isinstance(value, ast.Call):
        return getattr(value.func, "attr", "")
    return "operator" if isinstance(value, ast.BinOp | ast.UnaryOp | ast.Compare) else ""
