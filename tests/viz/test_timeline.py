"""Times and bytes of small tapes, counted by hand."""

from __future__ import annotations

import gc
import json
import sys

import numpy as np
import pytest

from tests.viz.nets import step
from tinygrad_norm import Op, Tensor, grad, modes, nn, no_grad
from tinygrad_norm.viz.formats import size
from tinygrad_norm.viz.timeline import Timeline, median

KB = 1000


def leaf(count=KB // 8):
    """1,000 bytes, unless told otherwise."""
    return Tensor(np.linspace(0.1, 0.9, count), requires_grad=True)


class Keep(Op):
    """The identity, which keeps a copy of its input."""

    def forward(self, x):
        kept = x.copy()
        self.save(kept)
        return x + 0

    def backward(self, grad):
        return grad


def keep(x):
    return Keep()(x)


@pytest.fixture
def ticks(monkeypatch):
    """A clock that goes on by 1 whenever somebody looks."""
    numbers = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(numbers)))


def lives(timeline, phase=None):
    return [event.live_bytes for event in timeline.events if phase in (None, event.phase)]


def names(timeline):
    return [(event.op, event.phase) for event in timeline.events]


# Bytes


def test_a_chain_is_kept_op_by_op_and_freed_op_by_op():
    x = leaf()
    with Timeline() as timeline:
        y = keep(keep(keep(x)))
        y.backward(np.ones(y.shape))
    assert names(timeline) == [("Keep", "forward")] * 3 + [("Keep", "backward")] * 3
    assert lives(timeline) == [KB, 2 * KB, 3 * KB, 2 * KB, KB, 0]
    assert timeline.peak == (3 * KB, timeline.events[2])


def test_the_peak_is_the_sum_of_what_each_op_of_a_chain_saves():
    with Timeline() as timeline:
        y = keep(keep(keep(leaf())))
    entries, entry = [], y.creator
    while isinstance(entry, Op):
        entries.append(entry)
        (entry,) = entry.edges
    assert timeline.peak.bytes == sum(entry.saved_bytes for entry in entries) == 3 * KB
    assert [event.saved_bytes for event in timeline.events] == [KB] * 3


def test_what_several_share_counts_once_until_the_last_lets_go():
    x = leaf()
    with Timeline() as timeline:
        y = x.square() + x.sin()  # both keep x, and the addition nothing
        y.backward(np.ones(y.shape))
    assert names(timeline)[:3] == [("Square", "forward"), ("Sin", "forward"), ("Add", "forward")]
    assert lives(timeline, "forward") == [KB, KB, KB]
    assert names(timeline)[3:] == [("Add", "backward"), ("Sin", "backward"), ("Square", "backward")]
    assert lives(timeline, "backward") == [KB, KB, 0]
    assert [event.saved_bytes for event in timeline.events[:3]] == [KB, 0, 0]


def test_a_graph_that_is_dropped_is_kept_no_longer():
    with Timeline() as timeline:
        y = keep(keep(leaf()))
        del y
        keep(leaf(KB // 4))
    assert lives(timeline) == [KB, 2 * KB, 2 * KB]
    assert timeline.live_bytes == 0


def test_live_bytes_go_on_after_the_block():
    with Timeline() as timeline:
        y = keep(keep(leaf()))
    assert timeline.live_bytes == 2 * KB
    y.backward(np.ones(y.shape))  # nobody listens any more
    assert timeline.live_bytes == 0
    assert len(timeline.events) == 2


def test_a_graph_that_is_retained_is_kept():
    with Timeline() as timeline:
        y = keep(keep(leaf()))
        y.backward(np.ones(y.shape), retain_graph=True)
        assert timeline.live_bytes == 2 * KB
        y.backward(np.ones(y.shape))
    assert lives(timeline) == [KB, 2 * KB, 2 * KB, 2 * KB, KB, 0]


def test_without_a_tape_nothing_is_kept():
    with Timeline() as timeline, no_grad():
        keep(leaf())
    assert names(timeline) == [("Keep", "forward")]
    assert timeline.peak.bytes == 0
    assert timeline.largest() == []
    assert timeline.describe_peak() == "the tape keeps nothing"


def test_entries_made_before_the_block_are_seen_and_not_counted():
    y = keep(leaf())
    with Timeline() as timeline:
        y.backward(np.ones(y.shape))
    assert names(timeline) == [("Keep", "backward")]
    assert lives(timeline) == [0]


def test_a_way_back_that_is_recorded_is_part_of_it(ticks):
    x = leaf()
    with Timeline() as timeline:
        (dx,) = grad(x.sin(), x, np.ones(x.shape), create_graph=True)
    assert names(timeline) == [("Sin", "forward"), ("Cos", "backward"), ("Multiply", "backward"), ("Sin", "backward")]
    assert dx.requires_grad
    sin, cos, product, back = timeline.events
    assert (sin.start, cos.start, product.start, back.start) == (1, 4, 6, 3)
    assert [event.seconds for event in timeline.events] == [1, 1, 1, 3]  # of 5 ticks on the way back, 2 are of others


def test_the_sum_of_two_gradients_is_part_of_the_way_back():
    x = leaf()
    with Timeline() as timeline:
        grad(x.sin() + x.exp(), x, np.ones(x.shape), create_graph=True)
    phases = [event.phase for event in timeline.events]
    assert phases == ["forward"] * 3 + ["backward"] * (len(phases) - 3)
    assert names(timeline).count(("Add", "backward")) == 2  # itself, and that of the sum


def test_no_reference_cycles():
    gc.collect()
    gc.disable()
    try:
        with Timeline() as timeline:
            y = keep(leaf())
        del timeline  # while the graph lives
        assert gc.collect() == 0
        assert y.creator is not None
    finally:
        gc.enable()


# Time


def test_time_and_place_of_each_op(ticks):
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    with Timeline() as timeline:  # began at 0
        model(Tensor(np.ones((1, 3), np.float32))).sum().backward()
    assert [str(event) for event in timeline.events[:3]] == ["Linear in 0", "Tanh in 1", "Sum"]
    assert [(event.start, event.seconds) for event in timeline.events] == [(2 * i + 1, 1) for i in range(6)]
    assert timeline.seconds == 13
    assert timeline.outside_ops == 7
    assert timeline.seconds_of("backward") == 3


def test_the_ranks():
    with Timeline() as timeline:
        keep(leaf(300)), keep(leaf(100)), keep(leaf(200))
    for event, seconds in zip(timeline.events, (0.001, 0.003, 0.002), strict=True):
        event.seconds = seconds
    assert [event.saved_bytes for event in timeline.largest(2)] == [2400, 1600]
    assert [event.seconds for event in timeline.slowest(2)] == [0.003, 0.002]
    assert len(timeline.slowest()) == 3


def test_an_op_that_raises_leaves_no_hook_and_no_false_time():
    def block(timeline):
        with timeline:
            with pytest.raises(ValueError, match="do not broadcast"):
                leaf(3) + leaf(4)
            keep(leaf(3))
            leaf(3) + leaf(4)

    timeline = Timeline()
    with pytest.raises(ValueError, match="do not broadcast"):
        block(timeline)
    assert modes.setting.get().hooks == ()
    assert names(timeline) == [("Keep", "forward")]
    keep(leaf(3))
    assert len(timeline.events) == 1


def test_forward_is_forward_after_a_way_back_that_raised():
    class Failing(Keep):
        def backward(self, grad):
            raise ZeroDivisionError

    y = Failing()(leaf())
    with Timeline() as timeline:
        with pytest.raises(ZeroDivisionError):
            y.backward(np.ones(y.shape))
        keep(leaf())
    assert names(timeline) == [("Keep", "forward")]


def test_it_is_not_there_when_it_is_off():
    with Timeline():
        pass
    assert modes.setting.get() == modes.Mode()


def test_a_block_inside_its_own_is_refused():
    with Timeline() as timeline, pytest.raises(RuntimeError, match="recording already"), timeline:
        pass
    assert modes.setting.get().hooks == ()


def test_the_median_of_several_runs():
    runs = []
    for seconds in (3.0, 1.0, 2.0):
        with Timeline() as timeline:
            keep(leaf())
        timeline.seconds = 2 * seconds
        timeline.events[0].seconds = seconds
        runs.append(timeline)
    middle = median(runs)
    assert (middle.seconds, middle.events[0].seconds, middle.outside_ops) == (4.0, 2.0, 2.0)
    assert middle.peak.bytes == KB
    with Timeline() as other:
        leaf().exp()
    with pytest.raises(ValueError, match="different ops"):
        median([*runs, other])
    with pytest.raises(ValueError, match="at least one"):
        median([])


# What it says


@pytest.fixture
def timeline():
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1D(5, activation="relu"), nn.Linear(5, 2))
    return step(model, Tensor(np.ones((4, 6), np.float32) * np.arange(4, dtype=np.float32)[:, None]))


def test_the_text_names_the_ops_their_share_and_the_peak(timeline):
    lines = str(timeline).splitlines()
    assert lines[0].startswith("4 ops forward, 4 backward in ")
    assert lines[1] == f"the tape keeps at most {size(timeline.peak.bytes)}, after Linear in 2, forward"
    assert lines[3].split() == ["slowest", "ms", "of", "time"]
    assert any(line.startswith("BatchNorm in 1, backward") for line in lines)
    large = lines[lines.index("") + 1 :][lines[lines.index("") + 1 :].index("") + 1 :]
    assert large[0].split() == ["keeps", "most", "bytes", "of", "all", "kept"]
    assert large[1].split()[:3] == ["BatchNorm", "in", "1"]
    assert len({len(line) for line in lines[3:] if line}) == 1
    assert str(Timeline()) == "no op ran"


def test_names_of_modules_are_shown_and_not_obeyed():
    inner = {"\x1b[31m": nn.Linear(3, 3), "$\\frac{1$ $": nn.Linear(3, 3), "n" * 20_000: nn.Linear(3, 3)}
    model = nn.Sequential()
    for name, module in inner.items():
        setattr(model, name, module)
    timeline = step(model, Tensor(np.ones((2, 3), np.float32)))
    assert len(timeline.events) >= 6
    assert all(line.isprintable() and len(line) < 200 for line in str(timeline).splitlines())


def test_json_holds_all(timeline, tmp_path):
    timeline.save(tmp_path / "time.json")
    found = json.loads((tmp_path / "time.json").read_text())
    assert found == timeline.to_json()
    assert found["events"][found["peak"]["event"]]["live_bytes"] == found["peak"]["bytes"]
    assert {"op": "BatchNorm", "module": "1", "phase": "forward"}.items() <= found["events"][1].items()


def test_bad_input_keeps_the_old_file(timeline, tmp_path):
    path = tmp_path / "time.json"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"suffix of .* is \.json, \.pdf, \.png, \.svg, got '\.gif'"):
        timeline.save(tmp_path / "time.gif")
    with pytest.raises(ValueError, match="no op ran"):
        Timeline().save(path)
    assert path.read_text() == "old"
    with pytest.raises(OSError, match=r"time\.json"):
        timeline.save(path / "below.json")
    assert [file.name for file in tmp_path.iterdir()] == ["time.json"]


def test_missing_matplotlib_says_how_to_get_it(timeline, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad-norm\[viz\]"'):
        timeline.save(tmp_path / "time.png")
    assert list(tmp_path.iterdir()) == []
