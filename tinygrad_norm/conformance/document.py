"""The table of all frameworks that are installed, as a page of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_norm.conformance.frameworks import FRAMEWORKS, Framework
from tinygrad_norm.conformance.kinds import NORM_KINDS
from tinygrad_norm.conformance.measurement import Conformance, measure, written
from tinygrad_norm.conformance.trials import DEVIATES, INAPPLICABLE, REFUSED, trials

HEADING = """# Conformance

How near the norms of frameworks are to their formula: {frameworks}.

Written by `tinygrad-norm conformance -o docs/conformance.md` in some minutes, on a CPU; another one may round
differently. `tinygrad-norm certify --from torch torch.nn.LayerNorm` measures one norm, also one of yours.

A figure is the largest error relative to the largest right value, and **bold** where it is beyond the bound. Right is
the formula in 420 decimal digits, and its derivatives by differences there: nothing of it is shared with a framework.
Where it does not say float64, numbers are float32. The bounds are some roundings, which takes statistics in float64
where the mean is large. *Refused* is what raises an error; – says that there is nothing to compare: onnxruntime has no
gradients, and a sample's statistics in batch norm are those of its batch.{lacking}
"""


def document(progress: Callable[[Any, str], Iterable[Any]] = lambda items, doing: items) -> str:
    """Return the page: for each kind of norm a table, with a row for each check and a column for each norm.

    `progress` hands on the checks of each norm, as `measure` says.
    """
    installed = [each for each in FRAMEWORKS.values() if not each.lacking()]
    lacking = [each.title for each in FRAMEWORKS.values() if each not in installed]
    names = [str(each()) for each in installed]
    words = f" Not installed here, and so not measured: {', '.join(lacking)}." if lacking else ""
    parts = [HEADING.format(frameworks=", ".join(names), lacking=words)]
    for kind in NORM_KINDS.values():
        measured = [
            (framework, measure(norm, framework.name, kind.name, progress=progress))
            for framework in installed
            for norm in framework.norms.get(kind.name, ())
        ]
        if measured:
            title = f"{kind.title[0].upper()}{kind.title[1:]}"
            parts.append("\n".join([f"## {title}", "", *_table(measured), "", *_words(measured)]).rstrip() + "\n")
    return "\n".join(parts)


def _table(measured: list[tuple[type[Framework], Conformance]]) -> list[str]:
    head = ["", *(f"{framework.title} `{found.name.rpartition('.')[2]}`" for framework, found in measured), "bound"]
    rows = [head, ["---", *("---:" for _ in head[1:])]]
    for i, check in enumerate(trials()):
        outcomes = [found.outcomes[i] for _, found in measured]
        cells = [_cell(outcome.verdict, outcome.error) for outcome in outcomes]
        bound = next((outcome.bound for outcome in outcomes if outcome.bound is not None), None)
        rows.append([check, *cells, written(bound) if bound else "0" if bound is not None else ""])
    count = [f"{len(found.deviations)}" for _, found in measured]
    rows.append(["**deviations**", *count, ""])
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(verdict: str, error: float | None) -> str:
    if verdict == REFUSED:
        return "*refused*"
    if verdict == INAPPLICABLE:
        return "–"
    shown = "0" if error == 0 else written(error)
    return f"**{shown}**" if verdict == DEVIATES else shown


def _words(measured: list[tuple[type[Framework], Conformance]]) -> list[str]:
    return [
        f"- {framework.title} `{found.name}`, {outcome.check}: {outcome.words}"
        for framework, found in measured
        for outcome in found.deviations
    ]
