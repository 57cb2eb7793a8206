"""What an experiment leaves behind: its figures as JSON, a picture, and a page in Markdown."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinygrad_norm.experiments.spread import Spread, caution
from tinygrad_norm.training.logs import strict_json

Rows = list[dict[str, Any]]


class Measurements(dict[str, Any]):
    """What JSON holds, and NaN: "settings", "rows", one for each run, and what else the experiment measured."""

    @classmethod
    def of(cls, settings: Any, rows: Rows, **more: Any) -> Measurements:
        """Put together what a run of an experiment found."""
        return cls(settings=asdict(settings), **more, rows=rows)

    @property
    def settings(self) -> Any:
        """The settings, each by its name."""
        return SimpleNamespace(**self["settings"])

    def pick(self, **wanted: Any) -> Rows:
        """Return the rows that have these values."""
        return [row for row in self["rows"] if all(row[key] == value for key, value in wanted.items())]

    def spread(self, key: str, **wanted: Any) -> Spread:
        """Return the spread of one quantity over the runs that have these values."""
        return Spread.of(row[key] for row in self.pick(**wanted))


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Story:
    """What a result says, in words that follow from its numbers.

    Args:
        summary: the findings, a sentence each.
        tables: the figures behind them.
        how: how it was done, and what to bear in mind.
    """

    summary: Sequence[str]
    tables: Sequence[Table]
    how: str


@dataclass(frozen=True)
class Report:
    """Where a report lies (`path`, in `folder`), and what it says."""

    folder: Path
    path: Path
    summary: tuple[str, ...]


def as_json(result: Mapping[str, Any]) -> str:
    """Write the result as strict JSON, a line a run. The same runs give the same text: no clock time is in it."""
    parts = []
    for key, value in strict_json(result).items():
        text = json.dumps(value, allow_nan=False)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(f"  {json.dumps(row, allow_nan=False)}" for row in value) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def as_markdown(name: str, question: str, result: Measurements, story: Story, command: str, seconds: float) -> str:
    """Write the page: the question, the findings, the picture, the tables, and how it was done."""
    stem = file_stem(name)
    settings = ", ".join(f"{key} {_plain(value)}" for key, value in result["settings"].items())
    blocks = [
        f"# {name}",
        question,
        "\n".join(f"- {sentence}" for sentence in story.summary),
        f"![{question}]({stem}.png)",
        *(block for table in story.tables for block in (f"**{table.title}**", _as_table(table))),
        story.how,
        caution(len(result["settings"]["seeds"])),
        f"Settings: {settings}. The figures of every run are in [{stem}.json]({stem}.json).",
        f"`{command}` took {seconds:.0f} s on {machine()}.",
    ]
    return "\n\n".join(blocks) + "\n"


def file_stem(name: str) -> str:
    """Return what the files of an experiment are called: its name, with a hyphen for the colon."""
    return name.replace(":", "-")


def machine() -> str:
    """Return what the experiment ran on, in general words."""
    fast = find_spec("numba") is not None and os.environ.get("TINYGRAD_NORM_KERNELS") != "reference"
    kernels = "Numba kernels" if fast else "plain NumPy kernels"
    count = os.cpu_count() or 1
    processors = f"{count} processor{'s' if count > 1 else ''} ({platform.machine()})"
    return f"{processors}, {kernels}, NumPy {np.__version__}, Python {platform.python_version()}"


def _plain(value: Any) -> str:
    return "/".join(map(_plain, value)) if isinstance(value, list) else str(value)


def _as_table(table: Table) -> str:
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
