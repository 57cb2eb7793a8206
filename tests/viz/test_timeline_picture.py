"""The picture of a timeline: passes, modules, the peak and each op's time, in the figure and in its files."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.viz.nets import step
from tinygrad_norm import Tensor, composed, nn
from tinygrad_norm.viz import timeline_picture
from tinygrad_norm.viz.formats import size
from tinygrad_norm.viz.timeline import Timeline


@pytest.fixture
def timeline():
    """Four ops forward and four backward; the peak is after the last layer."""
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1D(5, activation="relu"), nn.Linear(5, 2))
    return step(model, Tensor(np.ones((4, 6), np.float32) * np.arange(4, dtype=np.float32)[:, None]))


@pytest.fixture
def axes_of(monkeypatch, tmp_path):
    """Draws a timeline and gives the panels, of memory and of time."""
    figures = []
    monkeypatch.setattr(timeline_picture, "save_figure", lambda figure, path: figures.append(figure))

    def draw(timeline):
        timeline.save(tmp_path / "time.png")
        return figures.pop().axes

    return draw


def words(path):
    """What an SVG says: matplotlib draws glyphs, and names each text in a comment."""
    return re.findall(r"<!-- (.*?) -->", path.read_text())


def test_the_picture_names_passes_modules_and_peak(timeline, tmp_path):
    timeline.save(tmp_path / "time.svg")
    said = words(tmp_path / "time.svg")
    assert {"forward", "backward", "time (ms)", "8 ops in the order they ran"} <= set(said)
    assert [word for word in said if word in {"0", "1", "2"}].count("1") >= 2  # once each way
    assert f"peak {size(timeline.peak.bytes)} after Linear in 2" in said


def test_the_picture_has_both_colours(timeline, tmp_path):
    from matplotlib.image import imread

    timeline.save(tmp_path / "time.png")
    pixels = imread(tmp_path / "time.png")[..., :3]
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(pixels - np.array(colour) / 255).max(axis=-1) < 0.02).sum() > 100


def test_the_picture_marks_the_peak_and_where_the_way_back_begins(timeline, axes_of):
    memory, seconds = axes_of(timeline)
    peak, boundary = memory.lines
    place = timeline.events.index(timeline.peak.event)
    assert peak.get_xdata() == [place + 0.5]
    assert memory.get_ylim()[1] > peak.get_ydata()[0] > 0.7 * memory.get_ylim()[1]
    for line in (boundary, seconds.lines[0]):
        assert list(line.get_xdata()) == [4, 4]
        assert line.is_dashed()


def test_the_second_level_is_named_where_the_first_tells_nothing(tmp_path):
    def layers():
        return nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh())

    for model, name in ((nn.Sequential(layers()), "0.3"), (layers(), "3")):
        timeline = step(model, Tensor(np.ones((2, 3), np.float32)))
        for event in timeline.events:
            event.seconds = 1e-3  # so that no tick of the axis is called like a module
        timeline.save(tmp_path / "time.svg")
        assert {word for word in words(tmp_path / "time.svg") if word in {"0.3", "3"}} == {name}


@pytest.mark.parametrize("count", [1, 600])
def test_any_number_of_ops_is_drawn(count, tmp_path):
    y = Tensor(np.linspace(0.1, 0.9, 3), requires_grad=True)
    with Timeline() as timeline, composed():
        for _ in range(count):
            y = y.sin()
    timeline.save(tmp_path / "time.pdf")
    assert (tmp_path / "time.pdf").read_bytes().startswith(b"%PDF")


def test_the_steps_are_live_bytes_and_the_bars_milliseconds(timeline, axes_of):
    from matplotlib.colors import to_rgba

    for place, event in enumerate(timeline.events):
        event.seconds = 1e-3 * (place + 1)
    memory, seconds = axes_of(timeline)
    bars = sorted((bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in seconds.patches)
    np.testing.assert_allclose(bars, [(place + 0.5, place + 1) for place in range(8)])
    for phase in ("forward", "backward"):
        colour = to_rgba(timeline_picture.COLOUR[phase])
        count = sum(event.phase == phase for event in timeline.events)
        assert [bar.get_facecolor() for bar in seconds.patches].count(colour) == count == 4
    drawn = np.concatenate([stairs.get_data().values for stairs in memory.patches[::2]])
    np.testing.assert_allclose(drawn, [event.live_bytes for event in timeline.events])
    assert memory.get_ylabel() == "kept by the tape (B)"
    assert seconds.get_xlim() == (0, 8)


@pytest.mark.parametrize(("scale", "unit"), [(1, "B"), (1000, "kB"), (10**6, "MB"), (10**9, "GB")])
def test_the_unit_of_memory_is_that_of_the_peak(scale, unit, timeline, axes_of):
    for event in timeline.events:
        event.live_bytes *= scale
    memory, _ = axes_of(timeline)
    assert memory.get_ylabel() == f"kept by the tape ({unit})"
    assert 0.1 < memory.get_ylim()[1] < 1250


def test_names_are_upright_where_a_module_is_too_narrow_for_its_own(axes_of):
    for name, rotation in (("a", 0), ("n" * 20, 90)):
        model = nn.Sequential()
        for end in "xyz":
            setattr(model, name + end, nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
        _, seconds = axes_of(step(model, Tensor(np.ones((2, 3), np.float32))))
        names = {text.get_text(): text.get_rotation() for text in seconds.texts}
        assert names == {f"{name}{end}": rotation for end in "xyz"}


def test_a_module_that_ends_one_pass_and_begins_the_next_is_named_in_both(axes_of):
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
    with Timeline() as timeline:
        model(Tensor(np.ones((2, 3), np.float32))).backward(np.ones((2, 3), np.float32))
    _, seconds = axes_of(timeline)
    assert [text.get_text() for text in seconds.texts] == ["0", "1", "1", "0"]


def test_a_timeline_without_a_tape_has_no_peak(axes_of):
    with Timeline() as timeline:
        Tensor([1.0, 2.0]).exp()
    memory, _ = axes_of(timeline)
    assert (len(memory.lines), [text.get_text() for text in memory.texts]) == (0, ["forward"])


def test_names_of_modules_are_drawn_and_not_obeyed(tmp_path):
    model = nn.Sequential()
    for name in ("\x1b[31m", "$\\frac{1$ $", "n" * 20_000):
        setattr(model, name, nn.Linear(3, 3))
    step(model, Tensor(np.ones((2, 3), np.float32))).save(tmp_path / "time.svg")
    assert {r"\x1b[31m", r"$\frac{1$ $"} <= set(words(tmp_path / "time.svg"))
