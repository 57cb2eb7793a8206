"""Memory and time along the tape: when each op ran, how long, and what the tape kept for the way back after it."""

from __future__ import annotations

import json
import statistics
import time
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from tinygrad_norm import modes, tape
from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.figures import check_format
from tinygrad_norm.files import write_atomically
from tinygrad_norm.tables import format_table
from tinygrad_norm.viz.formats import line, size
from tinygrad_norm.viz.ledger import Ledger
from tinygrad_norm.viz.timeline_picture import draw

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

Pass = Literal["forward", "backward"]


@dataclass
class Event:
    """One op on its way forward or backward."""

    op: str
    """The op's class."""
    module: str
    """The path of the module that ran it, "" outside of any."""
    phase: Pass
    start: float
    """Seconds since the block began."""
    seconds: float
    """Without those of ops that ran inside of it."""
    saved_bytes: int
    """What the tape keeps on its account and nobody else's; 0 on the way back."""
    live_bytes: int
    """What the tape keeps in all, after it."""

    def __str__(self) -> str:
        return line(f"{self.op} in {self.module}" if self.module else self.op)


class Peak(NamedTuple):
    """The most bytes that the tape kept, and the first op after which it did."""

    bytes: int
    event: Event | None


@dataclass
class _Running:
    """An op that has not come back yet, or never will, as it raised."""

    phase: Pass
    start: float
    inner: float = 0.0


class Timeline(modes.Hook):
    """Records the ops of a block of code: `with Timeline() as timeline: loss = ...; loss.backward()`.

    Bytes are what the tape keeps for the way back of ops in the block: arrays that several entries share count once,
    parameters not at all, and an entry's go when backward frees it or nobody holds the graph any more.

    Example:
        >>> model, x = nn.Linear(4, 2), ops.ones((8, 4))
        >>> with viz.Timeline() as timeline:
        ...     model(x).sum().backward()
        >>> len(timeline.slowest(3)) > 0
        True
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.seconds = 0.0
        """How long the block took."""
        self._ledger = Ledger()
        self._running: list[_Running] = []
        self._left: tuple[weakref.ref[tape.Op], Event] | None = None
        self._active: Any = None

    def __enter__(self) -> Self:
        if self._active is not None:
            raise RuntimeError("Timeline: it is recording already; make another one for a block inside")
        self._ledger.settle_all()
        self._running.clear()
        self._active = modes.hooks(self)
        self._active.__enter__()
        self._began = time.perf_counter() - self.seconds
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds = time.perf_counter() - self._began
        active, self._active = self._active, None
        active.__exit__(None, None, None)
        self._settle()

    # What the tape calls

    def before_forward(self, op: tape.Op, inputs: tuple[Any, ...]) -> None:
        self._settle()
        self._ledger.exempt_parameters(inputs)
        self._running.append(_Running("backward" if modes.current().in_backward else "forward", time.perf_counter()))

    def after_forward(self, op: tape.Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        now = time.perf_counter()
        self._settle()
        self._add(op, now, self._ledger.add(op))

    def before_backward(self, op: tape.Op, grad: Tensor) -> None:
        self._settle()
        self._running.append(_Running("backward", time.perf_counter()))

    def after_backward(self, op: tape.Op, grad: Tensor, grads: tuple[Tensor | None, ...]) -> None:
        now = time.perf_counter()
        self._settle()
        self._left = weakref.ref(op), self._add(op, now, 0)

    def _add(self, op: tape.Op, now: float, saved: int) -> Event:
        running = self._running.pop()
        whole = now - running.start
        if self._running:
            self._running[-1].inner += whole
        start, seconds = running.start - self._began, whole - running.inner
        event = Event(type(op).__name__, op.scope, running.phase, start, seconds, saved, self._ledger.live)
        self.events.append(event)
        return event

    def _settle(self) -> None:
        """The walk frees an entry only after the hook, so its bytes go now, before the next thing happens."""
        if self._left is None:
            return
        (entry, event), self._left = self._left, None
        if (op := entry()) is not None:
            self._ledger.settle(op)
        event.live_bytes = self._ledger.live

    # What it found

    @property
    def live_bytes(self) -> int:
        """What the tape keeps now, also after the block."""
        self._ledger.settle_all()
        return self._ledger.live

    @property
    def peak(self) -> Peak:
        """The most that the tape kept, and after which op."""
        event = max(self.events, key=lambda event: event.live_bytes, default=None)
        return Peak(0 if event is None else event.live_bytes, event)

    @property
    def outside_ops(self) -> float:
        """Seconds of the block that were not in ops: Python, the tape, and what else the block does."""
        return self.seconds - self.seconds_of("forward") - self.seconds_of("backward")

    def seconds_of(self, phase: Pass) -> float:
        """How long the ops of one pass took together."""
        return sum(event.seconds for event in self.events if event.phase == phase)

    def slowest(self, count: int = 10) -> list[Event]:
        """The ops that took longest, the longest first; each pass of an op is one."""
        return sorted(self.events, key=lambda event: -event.seconds)[:count]

    def largest(self, count: int = 10) -> list[Event]:
        """The ops that keep most for the way back, the most first."""
        keeping = [event for event in self.events if event.saved_bytes]
        return sorted(keeping, key=lambda event: -event.saved_bytes)[:count]

    def tables(self, count: int = 10, seconds: float = 0.0) -> str:
        """The slowest ops, with their share of so many seconds (of the block's, if 0), and the largest, as text."""
        whole = seconds or self.seconds or 1.0
        slow = [
            (f"{event}, {event.phase}", f"{1e3 * event.seconds:,.2f}", f"{event.seconds / whole:.1%}")
            for event in self.slowest(count)
        ]
        kept = sum(event.saved_bytes for event in self.events) or 1
        large = [
            (str(event), size(event.saved_bytes), f"{event.saved_bytes / kept:.1%}") for event in self.largest(count)
        ]
        return format_table(
            [("slowest", "ms", "of time"), *slow, ("", "", ""), ("keeps most", "bytes", "of all kept"), *large]
        )

    def __str__(self) -> str:
        if not self.events:
            return "no op ran"
        ran = {phase: sum(event.phase == phase for event in self.events) for phase in ("forward", "backward")}
        return (
            f"{ran['forward']:,} ops forward, {ran['backward']:,} backward in {1e3 * self.seconds:,.1f} ms, "
            f"{1e3 * self.outside_ops:,.1f} ms of it outside of ops\n{self.describe_peak()}\n\n{self.tables()}"
        )

    def describe_peak(self) -> str:
        """The peak in a line."""
        most, event = self.peak
        if event is None or not most:
            return "the tape keeps nothing"
        return f"the tape keeps at most {size(most)}, after {event}, {event.phase}"

    def to_json(self) -> dict[str, Any]:
        """All of it in dictionaries, lists, numbers and text."""
        most, event = self.peak
        return {
            "seconds": self.seconds,
            "outside_ops": self.outside_ops,
            "peak": {"bytes": most, "event": None if event is None else self.events.index(event)},
            "events": [asdict(event) for event in self.events],
        }

    def save(self, path: StrPath) -> None:
        """Draw live bytes and time along the ops, as PNG, SVG or PDF, or write all as JSON.

        Raises:
            ValueError: the suffix is unknown, or no op ran.
            ImportError: matplotlib is not installed.
        """
        check_format("timeline", path, ".json")
        if not self.events:
            raise ValueError("Timeline.save: no op ran in the block, so there is nothing to draw")
        if Path(path).suffix.lower() == ".json":
            write_atomically(path, f"{json.dumps(self.to_json(), indent=1)}\n".encode())
            return
        draw(self, path)


def median(timelines: Sequence[Timeline]) -> Timeline:
    """One timeline whose times are the medians of several runs of the same ops.

    Raises:
        ValueError: there are none, or they ran different ops.
    """
    if not timelines:
        raise ValueError("median: timelines are at least one, got none")
    runs = [[(event.op, event.module, event.phase) for event in timeline.events] for timeline in timelines]
    if any(run != runs[0] for run in runs):
        raise ValueError("median: timelines are of the same ops, got some of different ops")
    middle = Timeline()
    middle.seconds = statistics.median(timeline.seconds for timeline in timelines)
    for same in zip(*[timeline.events for timeline in timelines], strict=True):
        start, seconds = [statistics.median(getattr(event, name) for event in same) for name in ("start", "seconds")]
        middle.events.append(replace(same[0], start=start, seconds=seconds))
    return middle
