"""The page of a norm: why its formula is what it is, from the definition to the kernel.

It is one file without scripts that needs no network. Each path by which x acts on the output has a colour, which its
statistic has in the formula, the derivation and the kernel.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from string import Template
from types import FunctionType
from typing import Any

import numpy as np

from tinygrad_norm import definitions, nn
from tinygrad_norm.derivation.adjoints import Path
from tinygrad_norm.derivation.code import safe
from tinygrad_norm.derivation.expression import Expression, walk
from tinygrad_norm.derivation.writing import Style, named
from tinygrad_norm.derived import DerivedNorm
from tinygrad_norm.dtypes import Array
from tinygrad_norm.models.norm_catalog import sets_sharing, shown
from tinygrad_norm.nn.module import Module
from tinygrad_norm.tables import plural
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.viz.compare import Comparison, compare_graphs
from tinygrad_norm.viz.graph import code_of
from tinygrad_norm.viz.html import VIEWER, hash_of
from tinygrad_norm.viz.listing import listing
from tinygrad_norm.viz.mathml import MathML, bracketed, math, row
from tinygrad_norm.viz.render import render
from tinygrad_norm.viz.sharing import picture
from tinygrad_norm.viz.style import dark_rules, style_sheet

COLOURS = 4
"""How many colours statistics have; a fifth one has that of the first."""
REST = "all other axes"
_GRAPH = "The graph, fused and composed"


def norm_page(norm: DerivedNorm, layer: str = "", certificate: str = "") -> str:
    """All that follows from a norm's definition, as an HTML page.

    Args:
        norm: the norm.
        layer: the layer of `nn` that it is the norm of, if it is one.
        certificate: the table of its gradient certificate.

    Raises:
        NoRendererError: Graphviz, which draws the graph, is not there.
    """
    return _Page(norm, layer).text(certificate)


def norm_sections(norm: DerivedNorm, layer: str) -> dict[str, str]:
    """What the page of a layer tells, without its graph and its certificate: HTML by title, for a page of one's own."""
    return _Page(norm, layer).sections()


def block_picture(layer: str) -> str:
    """Pictures of the values that share the statistics of a layer, which need not be derived, as SVG."""
    return "".join(f"<figure>{picture(shared, shown(layer).labels)}</figure>" for shared in sets_sharing(layer))


class _Page:
    def __init__(self, norm: DerivedNorm, layer: str) -> None:
        self.norm, self.layer, self.names = norm, layer, norm.traced.names
        self.classes = {each: f"p{1 + i % COLOURS}" for i, each in enumerate(norm.way.statistics)}
        known = {**self.names, **norm.traced.terms}
        self.math, self.plain = MathML(known, self.classes), Style(False, known)

    def sections(self) -> dict[str, str]:
        """From the definition to the kernel, by title."""
        return {
            "The definition": self.definition(),
            "What shares its statistics": "".join(self.blocks()),
            "The formula": "".join(map(_wide, self.formula())),
            "The derivation": "".join(self.derivation()),
            "The kernel": self.kernel(),
        }

    def text(self, certificate: str) -> str:
        """The page."""
        more = {"The certificate": _code(certificate) if certificate else "", _GRAPH: self.graph()}
        sections = self.sections() | more
        body = "".join(f"<section><h2>{name}</h2>{text}</section>" for name, text in sections.items() if text)
        style = f"{style_sheet()}{_read('norm.css')}@media (prefers-color-scheme: dark) {{ {dark_rules()} }}\n"
        title = escape(self.layer or self.norm.__name__)
        about = escape(inspect.getdoc(self.norm.definition) or "").replace("\n\n", "</p>\n<p>")
        policy = f"default-src 'none'; style-src {hash_of(style)}; img-src data:; base-uri 'none'; form-action 'none'"
        return Template(_read("norm.html")).substitute(title=title, about=about, policy=policy, style=style, body=body)

    def definition(self) -> str:
        """The text of the definition, and that of what it calls."""
        texts = [*map(_code, sources(self.norm.definition))]
        first = 2 if self.layer else 1  # that of a layer calls a function of `definitions`, and does no more
        more = f"<details><summary>What it calls</summary>{''.join(texts[first:])}</details>" if texts[first:] else ""
        return "".join([*texts[:first], more])

    # What shares its statistics

    def blocks(self) -> Iterator[str]:
        """A picture for each set of values that share statistics."""
        if self.layer:
            for shared in self.shared:
                yield self._block(self.norm.way.statistics, shared, shown(self.layer).labels)
            return
        sets = sets_of(self.norm)
        if not 0 < len(sets) < 3:
            yield f"<p>{plural(len(sets), 'set')} of axes: no picture shows that.</p>"
            return
        shape, labels = ((3, 5, 6), (REST, sets[1], sets[0])) if len(sets) == 2 else ((1, 5, 6), ("", REST, sets[0]))
        for reduced in dict.fromkeys(each.reduced for each in self.norm.way.statistics):
            own = [each for each in self.norm.way.statistics if each.reduced == reduced]
            chosen = [slice(None) if name in reduced else at for name, at in zip(labels, (0, 0, -1), strict=True)]
            shared = np.zeros(shape, bool)
            shared[*chosen] = True
            yield self._block(own, shared, labels)

    @functools.cached_property
    def shared(self) -> list[Array]:
        """The values that share a layer's statistics, in one set or two."""
        return sets_sharing(self.layer)

    def _block(self, statistics: Sequence[Expression], shared: Array, labels: tuple[str, str, str]) -> str:
        names = ", ".join(math(self.math.statistic(each)) for each in statistics)
        words = f"The coloured values share {'one ' if len(statistics) == 1 else ''}{names}"
        return f"<figure>{picture(shared, labels)}<figcaption>{words}</figcaption></figure>"

    # The formula and its derivation

    def formula(self) -> Iterator[str]:
        """A line for each statistic and for each term that is told once, and one for y."""
        for each in named(self.norm.traced, self.norm.way.statistics):
            yield _equation(self.math.statistic(each), self.math.defined(each))
        yield _equation("<mi>y</mi>", self.math.write(self.norm.traced.y))

    def derivation(self) -> Iterator[str]:
        """Every path by which x and the parameters act on y."""
        way = self.norm.way
        if way.adjoints:
            g, y = math("<mi>g</mi>"), math("<mi>y</mi>")
            yield f"<p>With {g} the gradient of {y}, what comes back to each statistic is</p>"
        for back, of in way.adjoints.items():
            yield _wide(_equation(self.math.write(back), self.math.write(of)))
        for leaf, paths in way.paths.items():
            if paths:
                name = self.math.name(str(leaf.value))
                yield f"<h3>{math(name)} acts on {math('<mi>y</mi>')} by {len(paths)} path{'s' * (len(paths) > 1)}</h3>"
                yield f'<dl class="paths">{"".join(map(self._path, paths))}</dl>'
                total = self._total(paths)
                if leaf is not self.norm.traced.x:
                    total = f"<mo>Σ</mo>{bracketed(total, len(paths) > 1)}"
                yield _wide(_equation(row(f"<mi>d</mi>{name}"), total))

    def _path(self, path: Path) -> str:
        words = "by itself" if path.through is None else f"through {math(self.math.statistic(path.through))}"
        return f'<dt class="path {self._class(path)}">{words}</dt><dd>{math(self.math.write(path.gradient))}</dd>'

    def _total(self, paths: list[Path]) -> str:
        """The sum over all paths, each in its colour."""
        parts: list[str] = []
        for path in paths:
            sign, gradient = _signed(path.gradient)
            parts += [f"<mo>{sign}</mo>"] if parts or sign == "−" else []
            parts.append(row(self.math.write(gradient, 1), f"path {self._class(path)}"))
        return row("".join(parts))

    def _class(self, path: Path) -> str:
        return "p0" if path.through is None else self.classes[path.through]

    # The kernel

    def kernel(self) -> str:
        """The generated functions that compute a formula, and the whole module."""
        source = self.norm.source
        if not source:
            return "<p>This norm has no kernel: it is computed in NumPy, in float64.</p>"
        by_rows = not self.layer or bool(self.shared[-1][0, 0].all())
        words = "Each line stands beside the formula that it computes."
        whole = f"<details><summary>The whole module</summary>{_code(source)}</details>"
        return f"<p>{words}</p>{listing(source, self.coloured, by_rows)}{whole}"

    def coloured(self, text: str, is_code: bool) -> str:
        """A line of a kernel, or the formula beside it, with statistics and paths in their colours."""
        paths = self.norm.way.paths[self.norm.traced.x]
        written = [(sign, self.plain.write(gradient)) for sign, gradient in (_signed(path.gradient) for path in paths)]
        if text == "".join(f" {sign} {part}" for sign, part in written).removeprefix(" + "):
            spans = [
                f'{sign} <span class="path {self._class(path)}">{self._named(part, False)}</span>'
                for path, (sign, part) in zip(paths, written, strict=True)
            ]
            return " ".join(spans).removeprefix("+ ")
        return self._named(text, is_code)

    def _named(self, text: str, is_code: bool) -> str:
        """Text with the names of statistics in their colours; in a formula, what is called by such a name is none."""
        found = {
            safe(name) if is_code else self.plain.name(name): self.classes[each]
            for each, name in self.names.items()
            if each in self.classes
        }
        name = "|".join(map(re.escape, sorted(found, key=len, reverse=True)))
        pattern = rf"\b(?:A_)?({name})_*\b" if is_code else rf"A\[({name})\]|(?<!\w)({name})(?![\w(\[])"
        texts, last = [], 0
        for match in re.finditer(pattern, text) if found else ():
            kind = found[next(filter(None, match.groups()))]
            texts += [escape(text[last : match.start()]), f'<span class="{kind}">{escape(match[0])}</span>']
            last = match.end()
        return "".join([*texts, escape(text[last:])])

    # The graph

    def graph(self) -> str:
        """The picture of the norm as one op and as the primitives of its definition."""
        svg = render(self._comparison().dot, "svg").decode()
        return f'<div class="graph" tabindex="0">{svg[svg.index("<svg") :]}</div>'

    def _comparison(self) -> Comparison:
        if self.layer:
            layer, inputs, _ = shown(self.layer)
            return compare_graphs(layer, inputs)
        shape = tuple(range(3, 5 + len(sets_of(self.norm))))
        kind = type(self.norm.__name__, (_Layer,), {})  # whose name is the picture's title
        return compare_graphs(kind(self.norm, shape), shape)


class _Layer(Module):
    """A norm of somebody's own as a layer, with parameters of 1; its sets of axes are the last ones of x."""

    def __init__(self, norm: DerivedNorm, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._norm, self._names, self._options = norm, list[str](), dict[str, Any]()
        shared = {leaf for each in norm.way.statistics for leaf in walk(each)}  # these have to have the axes of x
        for each in norm.traced.parameters:
            name = f"{each.value}_" if hasattr(self, each.value) else each.value
            self.register_parameter(name, nn.Parameter(np.ones(shape if each in shared else shape[-1:], np.float32)))
            self._names.append(name)
        given, sets = inspect.signature(norm.definition).parameters, sets_of(norm)
        for name in norm.traced.options:
            if name in sets:
                self._options[name] = sets.index(name) - len(sets)
            elif given[name].default is inspect.Parameter.empty:
                self._options[name] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        found = self._norm(x, *(getattr(self, name) for name in self._names), **self._options)
        y: Tensor = found[0] if isinstance(found, tuple) else found
        return y


def sets_of(norm: DerivedNorm) -> list[str]:
    """The options of a definition that are sets of axes, in its order."""
    return [name for name in norm.traced.options if name in norm.axes]


def sources(definition: Callable[..., Any]) -> Iterator[str]:
    """The text of a definition, and of what it calls that stands in its file or in `definitions`."""
    pending: list[Any] = [definition]
    for function in pending:
        if text := code_of(function)[0]:  # "" of what was typed in by hand
            yield text
        if not hasattr(function, "__code__"):  # a partial, or an object that is called
            continue
        names, known = function.__code__.co_names, function.__globals__
        called = [known.get(name) for name in names]
        called = [each for each in called if getattr(each, "__module__", None) == function.__module__]
        if known.get("definitions") is definitions:
            called += [getattr(definitions, name, None) for name in names]
        pending += [each for each in called if isinstance(each, FunctionType) and each not in pending]


def _signed(x: Expression) -> tuple[str, Expression]:
    return ("−", x.inputs[0]) if x.op == "negative" else ("+", x)


def _equation(left: str, right: str) -> str:
    return math(f"{left}<mo>=</mo>{right}")


def _wide(content: str) -> str:
    """A formula in a place of its own, which scrolls where it is wider than the page."""
    return f'<div class="wide" tabindex="0">{content}</div>'


def _code(text: str) -> str:
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def _read(name: str) -> str:
    return (VIEWER / name).read_text(encoding="utf-8")
