"""What was found: printed in Markdown as it comes, kept for a file, and judged by the targets."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.timing import Timing, spread


class Verdict(NamedTuple):
    """A figure beside its target."""

    what: str
    value: float
    target: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.value >= self.target if self.at_least else self.value <= self.target

    def row(self) -> list[str]:
        """The cells of its row."""
        sign = "≥" if self.at_least else "≤"
        return [self.what, f"{self.value:.2f}", f"{sign} {self.target:g}", "met" if self.met else "**missed**"]


class Ratio(NamedTuple):
    """Ours over another's: the median and the spread over the rounds, and the ratio of minima."""

    median: float
    least: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(ours: Timing, other: Timing) -> Ratio:
    """Compare two that were timed in turn, round by round."""
    each = [mine / theirs for mine, theirs in zip(ours.rounds, other.rounds, strict=False)]
    return Ratio(statistics.median(each), ours.least / other.least, *spread(each))


def fastest(timings: Mapping[str, Timing], forms: Collection[str]) -> str:
    """The form with the least median."""
    return min(forms, key=lambda form: timings[form].median)


class Report:
    """Sections of text and tables, and verdicts."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.verdicts: list[Verdict] = []

    def say(self, text: str) -> None:
        """Add text."""
        print(f"{text}\n", flush=True)
        self.lines += [text, ""]

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table; its first column is text, the others are figures."""
        self.say(markdown(header, rows))

    def timings(self, title: str, timings: Mapping[str, Timing]) -> None:
        """Add a table of each contender's minimum, median, spread and number of rounds."""
        rows = [
            [
                name,
                milliseconds(timing.least),
                milliseconds(timing.median),
                "–".join(map(milliseconds, timing.spread)),
                str(len(timing.rounds)),
            ]
            for name, timing in timings.items()
        ]
        self.table([title, "min", "median", "10–90 %", "rounds"], rows)

    def judge(self, what: str, value: float, target: float, at_least: bool = False) -> Verdict:
        """Note a figure that has a target."""
        verdict = Verdict(what, value, target, at_least)
        self.verdicts.append(verdict)
        return verdict

    def missed(self) -> list[Verdict]:
        """The targets that were not reached."""
        return [verdict for verdict in self.verdicts if not verdict.met]

    def targets(self) -> str:
        """All verdicts as a table."""
        return markdown(["", "found", "target", ""], [verdict.row() for verdict in self.verdicts])

    def write(self, path: Path, command: str) -> None:
        """Write it all, the verdicts first."""
        head = ["# Results", "", f"Written by `{command}`.", "", "## Targets", "", self.targets(), ""]
        path.write_text("\n".join([*head, *self.lines]).rstrip() + "\n", encoding="utf-8")


def progress(text: str) -> None:
    """Tell on stderr what comes now."""
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose source is aligned too."""
    table = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return " | ".join(["| " + first[0].ljust(first[1]), *[cell.rjust(width) for cell, width in others]]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *["-" * (width + 1) + ":" for width in widths[1:]]]) + "|"
    return "\n".join([line(table[0]), rule, *map(line, table[1:])])


def milliseconds(value: float) -> str:
    """A time with three figures or more."""
    return f"{value:.{4 if value < 0.1 else 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"
