"""Several seeds: their spread, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Form = Callable[[float], str]


@dataclass(frozen=True)
class Spread:
    """One quantity over the seeds; infinite where a goal was not reached, or a run diverged."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Return the spread of what was measured; None is a goal that was not reached, and NaN no better."""
        return cls(tuple(math.inf if value is None or math.isnan(value) else value for value in values))

    @property
    def mean(self) -> float:
        """The mean, infinite as soon as one value is; rounding takes it no further than the smallest or the largest."""
        return min(max(math.fsum(self.values) / len(self.values), self.low), self.high)

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.values)

    def words(self, form: Form) -> str:
        """Return the mean, and in brackets the range."""
        if self.low == self.high:
            return form(self.mean)
        return f"{form(self.mean)} ({form(self.low)} to {form(self.high)})"


def compare_spreads(
    first: str, a: Spread, second: str, b: Spread, form: Form, *, words: tuple[str, str], more: str = ""
) -> str:
    """Say which of two is lower, if the ranges over the seeds do not overlap; else that no difference was seen.

    Args:
        first, second: what they are called.
        a, b: what was measured of each.
        form: a value in words.
        words: what a lower value is called, and a higher one, such as ("better", "worse").
        more: the end of the sentence.
    """
    figures = f"{a.words(form)} against {b.words(form)}{more}."
    if math.isinf(a.low) and math.isinf(b.low):
        return f"{first} and {second}: {form(math.inf)}, either{more}."
    if len(a.values) < 2:
        return f"{first} and {second}: one seed says nothing of a difference; {figures}"
    if order := which_is_lower(a, b):
        return f"{first} is {words[order > 0]} than {second}: {figures}"
    return f"{first} and {second}: no difference seen at {len(a.values)} seeds; {figures}"


def which_is_lower(a: Spread, b: Spread) -> int:
    """Return -1 for the first, 1 for the second, 0 where their ranges overlap or there is but one seed."""
    if len(a.values) < 2:
        return 0
    return (b.high < a.low) - (a.high < b.low)


def caution(seeds: int) -> str:
    """Return how much a range apart means at this number of seeds."""
    if seeds < 2:
        return "One seed only: nothing here is called better or worse."
    once_in = math.comb(2 * seeds, seeds) // 2
    return (
        f"Figures are means over {seeds} seeds, the range in brackets. One thing is called better than another only "
        f"where the ranges do not overlap, as those of two equal things do by chance once in {once_in} comparisons."
    )


def percent(value: float) -> str:
    """Return a share in words."""
    return f"{100 * value:.1f} %"


def step_count(limit: int) -> Form:
    """Return a number of steps in words; infinity is a goal not reached within the limit."""
    return lambda value: f"not within {limit:,} steps" if math.isinf(value) else f"{value:,.0f}"
