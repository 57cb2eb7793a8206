"""All checks of one norm, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tinygrad_norm import random
from tinygrad_norm.checks import check_choice
from tinygrad_norm.conformance.frameworks import FRAMEWORKS
from tinygrad_norm.conformance.kinds import NORM_KINDS
from tinygrad_norm.conformance.norm import find_norm
from tinygrad_norm.conformance.trials import DEVIATES, REFUSED, Outcome, Trial, run_trial, trials
from tinygrad_norm.tables import format_table

TOLD = (DEVIATES, REFUSED)


@dataclass(frozen=True)
class Conformance:
    """What all checks found of a norm; true if it deviates in none.

    Example:
        >>> conformance.Conformance("LayerNorm", "numpy", "layer", []).deviations
        []
    """

    name: str
    framework: str
    """With its version."""
    kind: str
    outcomes: list[Outcome]

    @property
    def deviations(self) -> list[Outcome]:
        """Those in which it is not what it should be."""
        return [outcome for outcome in self.outcomes if outcome.verdict == DEVIATES]

    def __bool__(self) -> bool:
        return not self.deviations

    def to_json(self) -> dict[str, Any]:
        """Return all of it in dictionaries, lists, numbers and text; what is infinite is None."""
        found = asdict(self)
        for row in found["outcomes"]:
            if row["error"] is not None and not math.isfinite(row["error"]):
                row["error"] = None
        return {"ok": bool(self), **found}

    def __str__(self) -> str:
        rows = [("check", "error", "bound", "")]
        rows += [(each.check, written(each.error), written(each.bound), each.verdict) for each in self.outcomes]
        told = [f"  {outcome.check}: {outcome.words}" for outcome in self.outcomes if outcome.verdict in TOLD]
        told += [f"  -: {words}" for words in dict.fromkeys(f.words for f in self.outcomes if f.verdict == "-")]
        count = len(self.deviations)
        verdict = f"{count} of {len(self.outcomes)} checks deviate" if count else "no check deviates"
        heading = f"{self.name} of {self.framework}, as {NORM_KINDS[self.kind].title}, beside its formula in 420 digits"
        return "\n".join([heading, "", format_table(rows, "<>><"), *told, "", verdict])


def measure(
    what: str,
    framework: str,
    kind: str | None = None,
    eps: float = 1e-5,
    progress: Callable[[list[tuple[str, Trial]], str], Iterable[tuple[str, Trial]]] = lambda trials, doing: trials,
) -> Conformance:
    """Measure a framework's norm against its formula, in extended precision.

    Values and first derivatives are taken in float32, of inputs of a large mean, very large and very small ones,
    constants, one value and 2^24 values; derivatives to the third order in float64. Bits have to be the same on one
    thread and on all, and for a sample alone and in a batch.

    Args:
        what: its name in the framework, "package.module:Name", or "path/to/file.py:Name".
        framework: one of `FRAMEWORKS`.
        kind: one of `NORM_KINDS`; without it what the name tells, or the one that its values are of.
        eps: of the norm.
        progress: hands on the checks that it is given, with what is measured in words, and may show each.

    Raises:
        ImportError: the framework is not installed.
        ValueError: there is no such norm, it cannot be called, or it is of no kind that is known.
    """
    check_choice("measure: framework", framework, FRAMEWORKS)
    if kind is not None:
        check_choice("measure: kind", kind, NORM_KINDS)
    state = random.state_dict()
    try:
        norm = find_norm(FRAMEWORKS[framework](), what, NORM_KINDS[kind] if kind else None, eps)
        outcomes = [run_trial(trial, name, norm) for name, trial in progress(list(trials().items()), norm.name)]
    finally:
        random.load_state_dict(state)
    return Conformance(what, str(norm.framework), norm.kind.name, outcomes)


def written(number: float | None) -> str:
    """Return an error as the tables have it."""
    return "-" if number is None else f"{number:.1e}"
