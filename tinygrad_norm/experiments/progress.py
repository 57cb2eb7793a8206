"""Shows how an experiment goes: a bar for each run on a terminal, one plain line for each anywhere else.

A stream that can no longer be written to does not stop it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tinygrad_norm.output import UnfailingStream


class Progress:
    """Counts the runs of an experiment.

    Args:
        show: whether to write anything.
        stream: where to, standard error unless said.
    """

    def __init__(self, show: bool = True, stream: TextIO | None = None) -> None:
        self.show = show
        self.stream = UnfailingStream(stream or sys.stderr)
        self.total = 0
        self.done = 0

    def expect(self, runs: int) -> None:
        """Say how many runs there will be."""
        self.total = runs

    @contextmanager
    def run(self, label: str, steps: int) -> Iterator[Callable[[], object]]:
        """Show one run; call what it gives after each step. A line follows when the run is over."""
        from tqdm import tqdm

        place = f"{self.done + 1:>{len(str(self.total))}}/{self.total}  {label}"
        started, hidden = time.perf_counter(), not (self.show and self.stream.can_redraw())
        options = {"unit": "step", "leave": False, "dynamic_ncols": True, "file": self.stream, "disable": hidden}
        with tqdm(desc=place, total=steps, **options) as bar:
            yield bar.update
        self.done += 1
        if self.show:
            print(f"{place}  {time.perf_counter() - started:.1f} s", file=self.stream, flush=True)
