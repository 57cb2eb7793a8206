"""Expressions as Python code: within a loop over elements in the dtype of x, and between loops in float64."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_norm.derivation.expression import REDUCTIONS, Expression, walk
from tinygrad_norm.derivation.lowering import START, Lowering
from tinygrad_norm.derivation.rules import ONE, factors, product

FORMS = {
    # how it is written, and how closely it binds: a comparison 0, a sum 1, a product 2, a power 3, a call 9
    "add": ("{0} + {1}", 1),
    "subtract": ("{0} - {1}", 1),
    "multiply": ("{0} * {1}", 2),
    "divide": ("{0} / {1}", 2),
    "negative": ("-{0}", 2),
    "pow": ("{0} ** {1}", 3),
    "abs": ("abs({0})", 9),
    "where": ("({1} if ({0}) else {2})", 9),
    "stop_gradient": ("{0}", 9),
    "rsqrt": ("one / np.sqrt({0})", 2),
    "activated": ("activated({0}, line)", 9),
    "times_derivative": ("times_derivative({0}, {1}, line)", 9),
    **{name: (f"{name}({{0}}, real)", 9) for name in ("erf", "ndtr", "relu", "sigmoid", "sign", "softplus", "tanh")},
    "gated": ("gated({0}, {1}, real)", 9),
    "clip": ("minimum(maximum({0}, {1}), {2})", 9),
    **{name: (f"np.{name}({{0}})", 9) for name in ("sqrt", "exp", "expm1", "log", "log1p")},
    **{
        name: (f"{{0}} {sign} {{1}}", 0)
        for name, sign in (
            ("equal", "=="),
            ("less", "<"),
            ("less_equal", "<="),
            ("greater", ">"),
            ("greater_equal", ">="),
        )
    },
}
"""Other functions are called by their names: they are those of `kernels/cpu/pointwise.py`."""


IMPORTS = {
    "tinygrad_norm.kernels.cpu.activation": "activated times_derivative",
    "tinygrad_norm.kernels.cpu.compiler": "Kernel device inline noalias ordered reassociate",
    "tinygrad_norm.kernels.cpu.pointwise": "erf gated less maximum minimum ndtr relu sigmoid sign softplus tanh",
    "tinygrad_norm.kernels.cpu.reduction": (
        "ATTEMPTS ROWS TERMS Groups all_of are_near few fill first_row gather_max gather_min gather_sum groups_of "
        "in_range is_near join_max join_min join_sum keep length_of lowered move_max move_min move_sum raised rows_of "
        "start_of_columns start_of_row turns_of units_of unless"
    ),
}
"""Where the text of kernels takes its functions from."""

_OURS = re.compile(
    r"(c|e|m|n|nan|sum|total|joined|k|t|v)\d*|[xyrij]|d[xy]|(part|total|A|all)_.*|np|one|real|start|first|last|top|moved|near|ok|"
    r"parameters|options|line|units|statistics|values|sums|parts|grads|joins|fine|count|share|single|groups?|rows|unit|"
    r"width|period|repeat|inner|length|stop|whole|turn|blocks|less|maximum|minimum|sign|relu|sigmoid|softplus|erf|ndtr|gated|few|fill|"
    r"abs|len|min|max|range|prange"
)
"""The names that the text of kernels has for itself."""


def safe(name: str) -> str:
    """A name of a definition's; where the text has it for something else, with an underscore behind it."""
    taken = _OURS.fullmatch(name) or any(name in names.split() for names in IMPORTS.values())
    return f"{name}_" if taken else name


def form_of(op: str, arguments: int) -> tuple[str, int]:
    """How a function is written, and how closely it binds."""
    return FORMS.get(op) or (f"{op}({', '.join(f'{{{i}}}' for i in range(arguments))})", 9)


class Coefficients:
    """Constants of loops, in the dtype of x: c0, c1, …, each an expression, or what rounding took from one."""

    def __init__(self) -> None:
        self.names: dict[tuple[Expression, bool], str] = {}
        self._alike: dict[Any, Expression] = {}
        """Products by their factors, whose order does not count."""
        self.stages: dict[str, int] = {}
        """Where each is first used."""

    def name(self, x: Expression, stage: int, rest: bool = False) -> str:
        """The name of a coefficient; `rest` is for x less its value in the dtype of x."""
        x = self._alike.setdefault(frozenset(Counter(factors(x)).items()), x)
        name = self.names.setdefault((x, rest), f"c{len(self.names)}")
        self.stages.setdefault(name, stage)
        return name


class Loop:
    """The code of what is computed for each element.

    Args:
        lowering: tells what varies.
        coefficients: takes up what does not.
        stage: where the loop stands.
        at: the indices of an element of x, of a parameter that varies, and of what does not.
    """

    def __init__(self, lowering: Lowering, coefficients: Coefficients, stage: int, at: tuple[str, str, str]) -> None:
        self.varies = lowering.varies
        self.coefficients, self.stage = coefficients, stage
        self.element, self.parameter, self.column = at
        self.locals: dict[Expression, str] = {}
        self.wide = False
        self.used: set[str] = set()
        """The arrays and coefficients in the code."""

    def write(self, roots: list[Expression], describe: Callable[[Expression], str]) -> tuple[list[str], list[str]]:
        """Lines that name what is used more than once, and the code of each root."""
        uses: Counter[Expression] = Counter()
        order: list[Expression] = []
        for root in roots:
            self._count(root, uses, order)
        lines = []
        for node in order:
            if uses[node] > 1 and node.op not in ("x", "gradient", "data", "parameter") and self.varies(node):
                code, _ = self._code(node)
                self.locals[node] = f"v{len(self.locals)}"
                lines.append(f"{self.locals[node]} = {code}  # {describe(node)}")
        return lines, [self.code(root) for root in roots]

    def exact(self, node: Expression) -> str:
        """The code of a node in float64."""
        known, self.locals, self.wide = self.locals, {}, True
        code = self.code(node)
        self.locals, self.wide = known, False
        return code

    def _count(self, node: Expression, uses: Counter[Expression], order: list[Expression]) -> None:
        uses[node] += 1
        if uses[node] == 1:
            for each in self._inputs(node):
                self._count(each, uses, order)
            order.append(node)

    def _inputs(self, node: Expression) -> list[Expression]:
        """What its code is made of."""
        if not self.varies(node):
            return []
        if node.op in ("multiply", "divide"):
            return [part for part, _ in factors(node) if self.varies(part)]
        return [each for each in node.inputs if self.varies(each)] * (2 if node.op == "square" else 1)

    def code(self, node: Expression, within: int = 0) -> str:
        """The code of a node, in brackets if it binds less closely than what is around it."""
        if node in self.locals:
            return self.locals[node]
        if not self.varies(node):
            return self._constant(node)
        if node.op == "parameter":
            return self._array(safe(node.value), self.parameter)
        if node.op in ("x", "gradient", "data"):
            return self._array({"x": "x", "gradient": "dy"}.get(node.op) or safe(node.value), self.element)
        return _bracketed(*self._code(node), within)

    def _code(self, node: Expression) -> tuple[str, int]:
        """The code of a function, and how closely it binds."""
        if node.op in ("multiply", "divide"):
            return self._product(node), 2
        if node.op == "subtract" and (code := self._less_statistic(*node.inputs)):
            return code, 2 if code.startswith("-") else 9
        if node.op == "square" and (node.inputs[0] in self.locals or not node.inputs[0].inputs):
            return " * ".join([self.code(node.inputs[0], 3)] * 2), 2
        return _function(node, self.code)

    def _less_statistic(self, a: Expression, b: Expression) -> str:
        """A difference from a statistic, whose value in the dtype of x is taken away first, and then the rest of it."""
        constant = b if self.varies(a) else a
        if self.varies(constant) or not any(each.op in (*REDUCTIONS, "adjoint", "given") for each in walk(constant)):
            return ""
        high, low = self._constant(constant), self._constant(constant, rest=True)
        return f"less({self.code(a)}, {high}, {low})" if constant is b else f"-less({self.code(b)}, {high}, {low})"

    def _product(self, node: Expression) -> str:
        parts = factors(node)
        varying = [part for part in parts if self.varies(part[0])]
        constant = product([(ONE, False), *(part for part in parts if not self.varies(part[0]))])
        above = [self.code(part, 2) for part, divides in varying if not divides]
        if constant is not ONE or not above:
            above.insert(1, self._constant(constant))  # after x - mean, say, so that it is x̂ that the weight meets
        return " / ".join([" * ".join(above), *(self.code(part, 3) for part, divides in varying if divides)])

    def _constant(self, node: Expression, rest: bool = False) -> str:
        if node.op == "number":
            return f"real({_literal(node.value)})"
        if node is START:
            return self._array("start", self.column)
        if node.op == "parameter":
            return self._array(safe(node.value), self.column)
        return self._array(self.coefficients.name(node, self.stage, rest), self.column)

    def _array(self, name: str, index: str) -> str:
        self.used.add(name)
        code = f"{name}[{index}]" if index else name
        return f"np.float64({code})" if self.wide else code


class Between:
    """The code of what is computed once for each group or column, in float64.

    Args:
        names: those of arrays that hold a value for each of them.
        counts: the names of numbers of values, by the axes.
        index: that of the group or the column.
    """

    def __init__(self, names: dict[Expression, str], counts: dict[frozenset[str], str], index: str) -> None:
        self.names, self.counts, self.index = names, counts, index
        self.locals: dict[Expression, str] = {}
        self.shared: set[Expression] = set()
        self.used: set[str] = set()

    def share(self, roots: Iterable[Expression]) -> None:
        """Note what is used more than once in some expressions; it gets a name of its own."""
        uses: Counter[Expression] = Counter()

        def visit(node: Expression) -> None:
            uses[node] += 1
            if uses[node] == 1 and node not in self.names:
                for each in node.inputs:
                    visit(each)

        for root in roots:
            visit(root)
        self.shared = {node for node, count in uses.items() if count > 1 and node.inputs and node not in self.names}

    def temporaries(self, node: Expression) -> list[str]:
        """Lines that name what of a node is shared, and has no name yet."""
        if node in self.names or node in self.locals:
            return []
        lines = [line for each in node.inputs for line in self.temporaries(each)]
        if node in self.shared:
            code, _ = _function(node, self.code)
            self.locals[node] = f"t{len(self.locals)}"
            lines.append(f"{self.locals[node]} = {code}")
        return lines

    def code(self, node: Expression, within: int = 0) -> str:
        """The code of a node, in brackets if it binds less closely than what is around it."""
        if node in self.locals:
            return self.locals[node]
        if node in self.names:
            self.used.add(self.names[node])
            return f"{self.names[node]}[{self.index}]"
        if node.op == "number":
            return _bracketed(_literal(node.value), 2 if node.value < 0 else 9, within)
        if node.op == "option":
            return safe(node.value)
        if node.op == "count":
            return self.counts[node.value]
        if node.op == "parameter":
            return f"{safe(node.value)}[{self.index}]"
        return _bracketed(*_function(node, self.code), within)


def _function(node: Expression, code: Callable[[Expression, int], str]) -> tuple[str, int]:
    """The code of a function, from that of its inputs, and how closely it binds."""
    power = node.inputs[1].value if node.op == "pow" and node.inputs[1].op == "number" else 0.5
    if node.op == "square" or power.is_integer():
        return f"{code(node.inputs[0], 4)} ** {2 if node.op == 'square' else int(power)}", 3
    form, binds = form_of(node.op, len(node.inputs))
    arguments = [code(each, 0 if "({0}" in form else binds + i) for i, each in enumerate(node.inputs)]
    return form.format(*arguments), binds


def _literal(value: float) -> str:
    return repr(value) if math.isfinite(value) else f"np.{value}".replace("np.-", "-np.")


def _bracketed(code: str, binds: int, within: int) -> str:
    return code if binds >= within else f"({code})"
