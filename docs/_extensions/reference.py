"""Writes the reference, from docstrings: a page for each part of the package, and one for each norm.

It needs nothing but Python and the package, so that tests can ask it which names are public.
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = "tinygrad_norm"
SECTIONS = {
    "Args": "Arguments",
    "Returns": "Returns",
    "Yields": "Yields",
    "Raises": "Errors",
    "State": "State",
    "Source": "Source",
    "Example": "Example",
}
"""The parts of a docstring that have a title, and that title on the page."""


class Area(NamedTuple):
    """A page of the reference."""

    name: str
    title: str
    about: str
    modules: tuple[str, ...]
    """In which its names are, below the package."""


AREAS = (
    Area("core", "Tensors, derivatives and modes", "What `from tinygrad_norm import …` gives.", ("",)),
    Area("ops", "Differentiable functions", "Each takes tensors, arrays and numbers, and returns a tensor.", ("ops",)),
    Area("nn", "Layers", "Modules, losses, and what is done to a model.", ("nn", "nn.flops")),
    Area("norms", "Norm layers", "Each has a page with its derivation, its kernels and its certificate.", ("nn",)),
    Area("init", "Initialization of weights", "Each fills a tensor in place, and returns it.", ("nn.init",)),
    Area(
        "parametrizations",
        "Parametrizations",
        "Weights that are computed from other numbers.",
        ("nn.parametrizations", "nn.parametrize"),
    ),
    Area("optim", "Optimizers and schedules", "What takes the steps, how long they are, and clipping.", ("optim",)),
    Area("data", "Data", "Data sets, loaders and augmentation.", ("data",)),
    Area("training", "Training", "The trainer, its callbacks, checkpoints and recipes.", ("training",)),
    Area("models", "The zoo", "Nets, and the choice of their norms.", ("models",)),
    Area("viz", "Pictures", "Graphs, and time and memory along the tape.", ("viz",)),
    Area("doctor", "The doctor", "What is wrong with a net's norms.", ("doctor",)),
    Area(
        "proof",
        "Checks and certificates",
        "Whether a gradient can be trusted, and a norm of any framework.",
        ("testing", "certificate", "conformance"),
    ),
    Area("experiments", "The laboratory", "Claims about normalization, put to the test.", ("experiments",)),
)
"""The pages, in their order. A name of the first is on no other."""
SHOWN_ELSEWHERE = ("Module", "Optimizer", "LRScheduler", "Callback", "Hook", "Tensor", "FusedOp", "Op")
"""Public bases, whose methods stand with them alone."""
OF_NORMS = {
    "beta",
    "gamma",
    "inference_affine",
    "reset_parameters",
    "reset_running_stats",
    "updates_running_statistics",
    "uses_batch_statistics",
}
"""The methods of norm layers that are for their users; the others are how they are made."""


class Public(NamedTuple):
    """A public name."""

    path: str
    """With its module: as `tinygrad_norm.nn.Linear`."""
    value: Any

    @property
    def module(self) -> str:
        """The module that it is imported from."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The name alone."""
        return self.path.rpartition(".")[2]


def names_of(module: Any) -> list[str]:
    """Return the names that a module offers: its `__all__`, or the functions and classes that are its own."""
    if hasattr(module, "__all__"):
        return [*module.__all__]
    own = [(name, getattr(value, "__module__", None)) for name, value in vars(module).items() if name[0] != "_"]
    return [name for name, home in own if isinstance(home, str) and f"{home}.".startswith(f"{module.__name__}.")]


def publics(area: Area) -> list[Public]:
    """Return the public names of a page, sorted, modules not among them."""
    norms = set(norm_names())
    found = []
    for part in area.modules:
        path = f"{ROOT}.{part}" if part else ROOT
        module = importlib.import_module(path)
        for name in names_of(module):
            value = getattr(module, name)
            here = part != "nn" or (name in norms) == (area.name == "norms")
            if not inspect.ismodule(value) and here:
                found.append(Public(f"{path}.{name}", value))
    core = {id(each.value) for each in publics(AREAS[0])} if area.name != "core" else set()
    found = [each for each in found if id(each.value) not in core]
    return sorted(found, key=lambda each: (each.module, each.name.lower()))


def norm_names() -> list[str]:
    """Return the names of the norm layers."""
    from tinygrad_norm.certificate.norm_examples import norm_layers

    return [*norm_layers()]


def all_publics() -> list[Public]:
    """Return every public name, once."""
    return [each for area in AREAS for each in publics(area)]


def sections_of(value: Any) -> tuple[list[str], dict[str, str]]:
    """Return the paragraphs of a docstring, and the texts of its sections by their titles."""
    text, sections, last = list[str](), dict[str, str](), ""
    for part in (inspect.getdoc(value) or "").split("\n\n"):
        title = re.match(rf"({'|'.join(SECTIONS)}):", part)
        if title:
            last = title[1]
            sections[last] = part[title.end() :].strip("\n")
        elif last in ("Args", "Raises", "Example") and part.startswith("    "):
            sections[last] += f"\n\n{part}"
        else:
            text.append(part)
    return text, sections


def signature_of(value: Any) -> str:
    """Return the arguments of a function or a class, with their defaults and without their types."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    if inspect.isclass(value) and issubclass(value, Exception):
        return ""
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    bare = [each if each.default is each.empty else each.replace(default=_Shown(each.default)) for each in bare]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


class _Shown:
    """A default as it is written in a signature."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        if isinstance(self.value, type) or inspect.isfunction(self.value):
            return "…" if self.value.__name__ == "<lambda>" else self.value.__name__
        return "…" if "<factory>" in repr(self.value) or " object at 0x" in repr(self.value) else repr(self.value)


class Writer:
    """Writes names as Markdown, and knows which of them a text may link to."""

    def __init__(self) -> None:
        self.known = {each.name: each.path for each in reversed(all_publics())}

    def prose(self, text: str) -> str:
        """A text of a docstring: what it names in backticks is a link where it is public, formulas stay as they are."""
        parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
        return "".join(
            self._named(part) if i % 2 else re.sub(r"([\\*_<>\[\]$|~#])", r"\\\1", part) for i, part in enumerate(parts)
        )

    def _named(self, code: str) -> str:
        name = code.strip("`")
        path = self.known.get(re.sub(r"^(?:nn|ops|optim|data|training|models|viz|testing|init)\.", "", name))
        return f"{{py:obj}}`{name} <{path}>`" if path else code

    def paragraphs(self, text: list[str]) -> Iterator[str]:
        """The paragraphs of a docstring; one that begins with a formula stands by itself."""
        for each in text:
            yield (
                f"`{each}`" if re.match(r"y = \S", each) and "\n" not in each and len(each) < 120 else self.prose(each)
            )
            yield ""

    def items(self, text: str) -> Iterator[str]:
        """A list of arguments or errors, each with what is said of it."""
        for part in re.split(r"\n(?=\S)", textwrap.dedent(text).strip("\n")):
            head, _, words = part.partition(":")
            if words and re.fullmatch(r"[\w*]+(, [\w*]+)*", head):
                yield f"- **{head.replace('*', '')}**: {self.prose(words)}"
            else:
                yield f"- {self.prose(part)}"
        yield ""

    def body(self, value: Any) -> Iterator[str]:
        """All that a docstring says."""
        text, sections = sections_of(value)
        yield from self.paragraphs(text)
        for name, title in SECTIONS.items():
            if name not in sections:
                continue
            yield f"**{title}**" if name != "Source" else f"**Source**: {self.prose(sections[name])}"
            yield ""
            if name == "Example":
                yield from ("```pycon", textwrap.dedent(sections[name]).strip("\n"), "```", "")
            elif name in ("Args", "Raises"):
                yield from self.items(sections[name])
            elif name != "Source":
                yield from (self.prose(sections[name]), "")

    def entry(self, public: Public, fence: str = ":::::") -> Iterator[str]:
        """A public name, with its signature, its docstring and its methods."""
        is_class = inspect.isclass(public.value)
        kind = "function" if not is_class else "exception" if issubclass(public.value, Exception) else "class"
        yield f"{fence}{{py:{kind}}} {public.path}{signature_of(public.value) or ('()' if not is_class else '')}"
        yield ""
        yield from self.body(public.value)
        if is_class:
            for name, method in methods_of(public.value):
                shown = "property" if isinstance(method, property) else "method"
                words = "" if shown == "property" else re.sub(r"\((self|cls)(, )?", "(", signature_of(method), count=1)
                yield f"{fence[1:]}{{py:{shown}}} {name}{words}"
                yield ""
                yield from self.body(method)
                yield fence[1:]
                yield ""
        yield fence
        yield ""


def methods_of(kind: type) -> list[tuple[str, Any]]:
    """Return the public methods and properties of a class, its own and those of bases that are not public."""
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        if base is not kind and (base.__name__ in SHOWN_ELSEWHERE or not base.__module__.startswith(ROOT)):
            break
        for name, value in vars(base).items():
            plain = value.__func__ if isinstance(value, classmethod) else value
            if name[0] != "_" and isinstance(plain, FunctionType | property) and plain.__doc__:
                found.setdefault(name, plain)
    shown = OF_NORMS if hasattr(kind, "definition") and hasattr(kind, "normalize") else found.keys()
    return sorted((name, value) for name, value in found.items() if name in shown)


def pages() -> Iterator[tuple[str, str]]:
    """Every page of the reference but those of norms: its name, and its text."""
    writer = Writer()
    listed = "\n".join(area.name for area in AREAS)
    about = "\n".join(f"- {{doc}}`{area.name}`: {area.about}" for area in AREAS)
    yield "index", INDEX.format(count=len(all_publics()), about=about, listed=listed)
    for area in AREAS:
        names = publics(area)
        lines = [f"# {area.title}", "", area.about, ""]
        if area.name == "norms":
            about = ((each, writer.prose(sections_of(each.value)[0][0])) for each in names)
            lines += [f"- {{py:obj}}`{each.name} <{each.path}>`: {words}" for each, words in about]
            lines += ["", "```{toctree}", ":hidden:", "", *(f"norms/{each.name}" for each in names), "```", ""]
        else:
            for module in dict.fromkeys(each.module for each in names):
                if len({each.module for each in names}) > 1:
                    lines += [f"## {module}", ""]
                for each in names:
                    lines += writer.entry(each) if each.module == module else []
        yield area.name, "\n".join(lines)


INDEX = """# Reference

All {count} public names, written from their docstrings, whose examples run as tests. Examples go on from these lines:

```python
import numpy as np

from tinygrad_norm import *
from tinygrad_norm import certificate, conformance, doctor, experiments, models, viz
```

{about}

```{{toctree}}
:hidden:

{listed}
```
"""


def write(folder: Path) -> None:
    """Write the pages that are not yet as they should be, and remove those of what is gone."""
    import norm_reference

    (folder / "norms").mkdir(parents=True, exist_ok=True)
    texts = {f"{name}.md": text for name, text in pages()}
    texts |= {f"norms/{name}.md": text for name, text in norm_reference.pages(Writer())}
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.md"):
        if path.relative_to(folder).as_posix() not in texts:
            path.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    """Write before Sphinx looks which pages there are."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "reference"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
