"""Runs a notebook of marimo without marimo: when the site is built, and in a browser, where there is only Python.

It knows what the notebooks of `docs/notebooks` use, and refuses the rest: cells in an order in which they can run,
text, figures of matplotlib, sliders, dropdowns and editors.
"""

from __future__ import annotations

import ast
import html
import io
import json
import linecache
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

STORED = 7
"""Positions of a slider for which a page stores what the cells show, at most."""


class Html:
    """What a cell shows."""

    def __init__(self, text: str) -> None:
        self.text = text

    def render(self) -> str:
        """The text that a browser shows."""
        return self.text


class Widget(Html):
    """An input: its value, and the values that it can take, where these can be counted."""

    name = ""  # of the variable that holds it
    values: Sequence[Any] = ()

    def __init__(self, value: Any, label: str) -> None:
        self.value, self.label = value, label

    def stored(self) -> list[int]:
        """The places of those values for which a page keeps what the cells show, the present one among them."""
        step = max(-(-len(self.values) // STORED), 1)
        return list(range(len(self.values)))[self.values.index(self.value) % step :: step] if self.values else []

    def render(self) -> str:
        """The control beside its label."""
        lists = (self.stored(), [str(each) if isinstance(each, str) else f"{each:g}" for each in self.values])
        told = "".join(
            f' data-{key}="{html.escape(json.dumps(each))}"' for key, each in zip(("stored", "all"), lists, strict=True)
        )
        control = self.control(f'name="{self.name}" disabled{told}')
        return f'<label class="widget"><span>{html.escape(self.label)}</span>{control}</label>'

    def control(self, attributes: str) -> str:
        """The element that a reader moves."""
        raise NotImplementedError


class Slider(Widget):
    """A range of numbers, even or listed."""

    def __init__(
        self,
        start: float = 0,
        stop: float = 0,
        step: float = 1,
        *,
        steps: Sequence[float] = (),
        value: float,
        label: str,
        show_value: bool = True,
    ) -> None:
        count = round((stop - start) / step) + 1
        self.values = list(steps) or [round(start + i * step, 10) for i in range(count)]
        super().__init__(self.values[self.values.index(value)], label)

    def control(self, attributes: str) -> str:
        """A range of the stored places."""
        stored = self.stored()
        at = stored.index(self.values.index(self.value))
        bounds = f'min="0" max="{len(stored) - 1}" value="{at}"'
        return f'<input type="range" {bounds} {attributes}><output>{self.value:g}</output>'


class Dropdown(Widget):
    """A choice of words."""

    def __init__(self, options: Sequence[str], *, value: str, label: str) -> None:
        self.values = list(options)
        super().__init__(value, label)

    def stored(self) -> list[int]:
        """All places."""
        return list(range(len(self.values)))

    def control(self, attributes: str) -> str:
        """A list that opens."""
        options = (f"<option{' selected' * (each == self.value)}>{html.escape(each)}</option>" for each in self.values)
        return f"<select {attributes}>{''.join(options)}</select>"


class Editor(Widget):
    """Lines of code, which only Python can answer."""

    def __init__(self, value: str, *, language: str, label: str) -> None:
        super().__init__(value, label)

    def control(self, attributes: str) -> str:
        """Lines to write in."""
        rows = self.value.count("\n") + 2
        return f'<textarea rows="{rows}" spellcheck="false" {attributes}>{html.escape(self.value)}</textarea>'


class Stack(Html):
    """Several things, one below the other."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def render(self) -> str:
        """All of them."""
        return f'<div class="widgets">{"".join(map(shown, self.items))}</div>'


def plain_text(text: str) -> Html:
    """A text as it stands."""
    return Html(f"<pre>{html.escape(text)}</pre>")


def md(text: str) -> Html:
    """Paragraphs with **bold** letters and `code`, as sentences with numbers need them."""
    text = html.escape(textwrap.dedent(text).strip())
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text))
    return Html("".join(f"<p>{each}</p>" for each in text.split("\n\n")))


def _marimo() -> ModuleType:
    """As much of marimo as the notebooks use."""
    made, ui = ModuleType("marimo"), ModuleType("marimo.ui")
    vars(ui).update(slider=Slider, dropdown=Dropdown, code_editor=Editor)
    vars(made).update(ui=ui, md=md, plain_text=plain_text, vstack=Stack, hstack=Stack)
    return made


def shown(value: Any) -> str:
    """What a page shows of the value of a cell."""
    if value is None:
        return ""
    if isinstance(value, Html):
        return value.render()
    if type(value).__name__ == "Figure":
        return _svg(value)
    raise TypeError(f"a cell shows a figure, a text or widgets, got {type(value).__name__}")


def _svg(figure: Any) -> str:
    """A figure without a background: ink, grid and letters are those of the page."""
    from matplotlib import rc_context

    if not (label := figure.get_label()):
        raise ValueError("a figure of a notebook says what is to be seen: figure.set_label(...)")
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(
        r"<metadata>.*?</metadata>\s*|\n\s*", " ", file.getvalue()[file.getvalue().index("<svg") :], flags=re.S
    )
    svg = re.sub("#333333|#000000", "currentColor", svg)
    svg = re.sub("#e6e6e6", "var(--pale)", svg, flags=re.IGNORECASE)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)


class Cell(NamedTuple):
    """A cell: its lines, what it takes of others, and what it gives them; all see what the setup imports."""

    lines: str
    body: list[ast.stmt]
    refs: list[str]
    defs: list[str]
    is_setup: bool = False

    @property
    def text(self) -> str | None:
        """The Markdown of a cell that is nothing but text."""
        match self.body:
            case [ast.Expr(ast.Call(ast.Attribute(attr="md"), [ast.Constant(str(text))]))]:
                return textwrap.dedent(text).strip()
        return None


def cells_of(source: str) -> Iterator[Cell]:
    """The cells of a notebook, in the order in which they stand, which has to be one in which they can run."""
    lines = source.splitlines()
    known: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.With):
            yield Cell(_text(lines, node.lineno, node.body[-1].end_lineno), node.body, [], [], True)
        elif isinstance(node, ast.FunctionDef):
            *body, last = node.body
            assert isinstance(last, ast.Return), f"line {last.lineno}: a cell ends in what it returns"
            refs, defs = [each.arg for each in node.args.args], [each.id for each in getattr(last.value, "elts", [])]
            if unknown := set(refs) - known:
                raise ValueError(f"line {node.lineno}: no cell above defines {', '.join(sorted(unknown))}")
            known.update(defs)
            yield Cell(_text(lines, node.lineno, last.lineno - 1), body, refs, defs)


def _text(lines: list[str], head: int, end: int | None) -> str:
    """The lines of a cell below its head."""
    return textwrap.dedent("\n".join(lines[head:end])).strip()


class Notebook:
    """A notebook that ran. `values` are the variables of its cells, `outputs` what each cell shows."""

    def __init__(self, source: str, file: str) -> None:
        lines = source.splitlines(keepends=True)
        linecache.cache[file] = (len(source), None, lines, file)  # a definition in a cell is read again
        self.file = file
        self.cells = list(cells_of(source))
        self.values: dict[str, Any] = {}
        self.outputs: dict[int, str] = {}
        self._shared: dict[str, Any] = {"__name__": "__main__"}
        self._run(range(len(self.cells)))

    @property
    def widgets(self) -> dict[str, Widget]:
        """The inputs, by the names of their variables."""
        return {name: value for name, value in self.values.items() if isinstance(value, Widget)}

    def set(self, name: str, value: Any) -> dict[int, str]:
        """Give a widget a value, and return what those cells show that depend on it."""
        self.widgets[name].value = value
        changed, stale = [], {name}
        for index, cell in enumerate(self.cells):
            if stale.intersection(cell.refs):
                changed.append(index)
                stale.update(cell.defs)
        self._run(changed)
        return {index: self.outputs[index] for index in changed}

    def answer(self, name: str, given: int | str) -> str:
        """As `set`, in JSON: a widget is given the place of a value, or an editor its text."""
        values = self.widgets[name].values
        return json.dumps(self.set(name, values[given] if values else given))

    def all(self) -> str:
        """What all cells show, in JSON."""
        return json.dumps(self.outputs)

    def frames(self) -> dict[str, dict[int, str]]:
        """What changes when one widget, and no other, has another of its stored values."""
        found = {}
        for name, widget in self.widgets.items():
            first = widget.value
            for place in widget.stored():
                if widget.values[place] != first:
                    found[f"{name}={place}"] = self.set(name, widget.values[place])
            if widget.values:
                self.set(name, first)
        return found

    def _run(self, indices: Iterable[int]) -> None:
        before = sys.modules.get("marimo")
        sys.modules["marimo"] = _marimo()
        try:
            for index in indices:
                self.outputs[index] = self._show(self.cells[index])
        finally:
            del sys.modules["marimo"]
            if before is not None:
                sys.modules["marimo"] = before

    def _show(self, cell: Cell) -> str:
        if cell.text is not None:
            return ""
        names = self._shared if cell.is_setup else self._shared | {ref: self.values[ref] for ref in cell.refs}
        *body, last = cell.body
        if not isinstance(last, ast.Expr):
            body, last = cell.body, ast.Expr(ast.Constant(None))
        exec(compile(ast.Module(body, []), self.file, "exec"), names)
        found = eval(compile(ast.fix_missing_locations(ast.Expression(last.value)), self.file, "eval"), names)
        for name in cell.defs:
            self.values[name] = names[name]
            if isinstance(names[name], Widget):
                names[name].name = name
        return shown(found)


if __name__ == "__main__":
    sys.modules["numba"] = None  # type: ignore[assignment]  # as in a browser
    found = Notebook(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[1])
    print(json.dumps({"outputs": dict(found.outputs), "frames": found.frames()}))
