"""The mutants of one source file: each is the file with one small fault in it, as a hand might have made it.

A fault replaces the text of one node of the syntax tree. Nothing is changed that no test should have to notice:
docstrings, annotations, the texts of errors, `__all__`, `__slots__`, blocks for the type checker, and `strict=`, an
assertion.
"""

from __future__ import annotations

import ast
import copy
import marshal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from types import CodeType
from typing import Any

Replacements = Iterator[tuple[ast.AST, str]]
"""Nodes, each with the text that replaces it."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Mutant:
    """One fault: in `function` the lines `before` become the lines `after`, told without their breaks and indents."""

    line: int
    function: str
    before: str
    after: str
    begin: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        """`source` with `text` in the place of its bytes from `begin` to `end`."""
        found = source.encode()
        return (found[: self.begin] + self.text.encode() + found[self.end :]).decode()


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module's source."""
    found, starts = source.encode(), [0]
    for line in found.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def mutant(node: Any, function: str, text: str) -> Mutant:
        first, last = starts[node.lineno - 1], starts[node.end_lineno]
        begin, end = first + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        before, after = found[first:last], found[first:begin] + text.encode() + found[end:last]
        return Mutant(node.lineno, function, _joined(before), _joined(after), begin, end, text)

    return [mutant(*fault) for fault in _faults(ast.parse(source), [])]


def _joined(lines: bytes) -> str:
    return " ".join(lines.decode().split())


def fingerprint(source: str) -> bytes:
    """What a module's source compiles to, without places in the file: equal for texts that mean the same."""

    def stripped(code: CodeType) -> CodeType:
        constants = tuple(stripped(value) if isinstance(value, CodeType) else value for value in code.co_consts)
        return code.replace(co_consts=constants, co_linetable=b"", co_firstlineno=1)

    # Version 2 knows no references, which would depend on who else holds a constant.
    return marshal.dumps(stripped(compile(source, "module", "exec", dont_inherit=True)), 2)


# Which nodes are mutated


def _faults(node: ast.AST, path: list[ast.AST]) -> Iterator[tuple[ast.AST, str, str]]:
    """Each node to be replaced at or below `node`, the name of the function it is in, and the text instead."""
    if _is_declaration(node):
        return
    function = ".".join(parent.name for parent in path if isinstance(parent, (ast.FunctionDef, ast.ClassDef)))
    for kind, fault in FAULTS:
        if isinstance(node, kind):
            yield from ((changed, function, text) for changed, text in fault(node))
    if isinstance(node, ast.stmt) and _can_be_dropped(node, path):
        yield node, function, "pass"
    for child in _children(node):
        yield from _faults(child, [*path, node])


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of `node` whose faults a test should notice."""
    if isinstance(node, (ast.Raise, ast.JoinedStr)):
        return
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not (isinstance(child, ast.keyword) and child.arg == "strict"):
                yield child


def _is_declaration(node: ast.AST) -> bool:
    """Whether `node` speaks to readers and type checkers alone."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        names = {target.id for target in getattr(node, "targets", [node]) if isinstance(target, ast.Name)}
        return bool(names & {"__all__", "__slots__"}) or _name(node.value) in ("TypeVar", "ParamSpec")
    return isinstance(node, ast.FunctionDef) and any("overload" in ast.unparse(d) for d in node.decorator_list)


def _name(node: Any) -> str:
    """The last name of the function that `node` calls, if it is a call."""
    function = getattr(node, "func", None)
    return getattr(function, "id", getattr(function, "attr", ""))


def _can_be_dropped(node: ast.stmt, path: list[ast.AST]) -> bool:
    """Whether the module still has a meaning without this statement, rather than a name that is not there."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    if isinstance(node, (ast.Raise, ast.Break, ast.Continue, ast.AugAssign)):
        return True
    function = next((parent for parent in reversed(path) if isinstance(parent, FUNCTIONS)), None)
    if not isinstance(node, ast.Assign) or function is None:
        return False
    names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    bound = [part.arg for part in ast.walk(function) if isinstance(part, ast.arg)]
    bound += [part.id for part in ast.walk(function) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    return all(bound.count(name) > 1 for name in names)


# The replacements of one node, as text


def _changed(node: Any, **fields: Any) -> str:
    """The text of `node` with other `fields`, in parentheses, so that it may stand wherever an expression does."""
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return f"({ast.unparse(new)})"


OBVIOUS = ("isinstance", "getattr", "hasattr", "setattr", "cast", "min", "max")
"""Calls that fail at once, or mean the same, or speak to type checkers alone, whatever is done to their arguments."""
COMMUTATIVE = ("add", "multiply", "maximum", "minimum", "logical_and", "logical_or", "equal")
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


def _comparison(node: ast.Compare) -> Replacements:
    for i, op in enumerate(node.ops):
        yield node, _changed(node, ops=[*node.ops[:i], COMPARISONS[type(op)](), *node.ops[i + 1 :]])


def _arithmetic(node: ast.BinOp | ast.AugAssign) -> Replacements:
    other = ARITHMETIC.get(type(node.op))
    if other is not None:
        text = _changed(node, op=other())
        yield node, text if isinstance(node, ast.BinOp) else text[1:-1]


def _boolean(node: ast.BoolOp) -> Replacements:
    yield node, _changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())


def _sign(node: ast.UnaryOp) -> Replacements:
    yield node, f"({ast.unparse(node.operand)})"


def _constant(node: ast.Constant) -> Replacements:
    if isinstance(node.value, bool):
        yield node, str(not node.value)
    elif isinstance(node.value, int | float):
        yield from ((node, f"({node.value + by!r})") for by in (1, -1))


def _condition(node: ast.If | ast.While | ast.IfExp | ast.comprehension) -> Replacements:
    for test in node.ifs if isinstance(node, ast.comprehension) else [node.test]:
        yield test, f"(not ({ast.unparse(test)}))"


def _returned(node: ast.Return) -> Replacements:
    if node.value is not None and ast.unparse(node.value) != "None":
        yield node, "return None"


def _arguments(node: ast.Call) -> Replacements:
    """A call without its last argument or one of its keywords, or with two neighbouring arguments exchanged."""
    given = node.args
    if len(given) > 1 and not any(isinstance(one, ast.Starred) for one in given) and _name(node) not in OBVIOUS:
        yield node, _changed(node, args=given[:-1])
        for i, (one, other) in enumerate(pairwise(given[: 0 if _name(node) in COMMUTATIVE else None])):
            yield node, _changed(node, args=[*given[:i], other, one, *given[i + 2 :]])
    for i, keyword in enumerate(node.keywords):
        if keyword.arg not in (None, "strict"):
            yield node, _changed(node, keywords=[*node.keywords[:i], *node.keywords[i + 1 :]])


def _slice(node: ast.Slice) -> Replacements:
    lower = "" if node.lower is None else ast.unparse(node.lower)
    upper = "" if node.upper is None else ast.unparse(node.upper)
    step = "" if node.step is None else f":{ast.unparse(node.step)}"
    yield node, f"{f'({lower}) + 1' if lower else '1'}:{upper}{step}"
    yield node, f"{lower}:{f'({upper}) - 1' if upper else '-1'}{step}"


FAULTS: list[tuple[Any, Callable[[Any], Replacements]]] = [
    (ast.Compare, _comparison),
    ((ast.BinOp, ast.AugAssign), _arithmetic),
    (ast.BoolOp, _boolean),
    (ast.UnaryOp, _sign),
    (ast.Constant, _constant),
    ((ast.If, ast.While, ast.IfExp, ast.comprehension), _condition),
    (ast.Return, _returned),
    (ast.Call, _arguments),
    (ast.Slice, _slice),
]
