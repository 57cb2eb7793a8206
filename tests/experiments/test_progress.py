from __future__ import annotations

import io

import pytest

from tinygrad_norm.experiments.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_for_each_run_elsewhere():
    stream = io.StringIO()
    progress = Progress(stream=stream)
    progress.expect(10)
    for seed in (0, 1):
        with progress.run(f"seed {seed}", steps=2) as tick:
            tick()
    lines = stream.getvalue().splitlines()
    assert [line.rsplit("  ", 1)[0] for line in lines] == [" 1/10  seed 0", " 2/10  seed 1"]


def test_a_bar_on_a_terminal_makes_way_for_the_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    progress = Progress(stream=stream)
    progress.expect(1)
    with progress.run("seed 0", steps=4) as tick:
        for _ in range(4):
            tick()
    shown = stream.getvalue()
    assert "1/1  seed 0:   0%|" in shown
    assert "/4" in shown
    assert shown.splitlines()[-1].lstrip("\r ").startswith("1/1  seed 0  ")


def test_nothing_where_nothing_is_wanted():
    stream = Terminal()
    progress = Progress(show=False, stream=stream)
    progress.expect(1)
    with progress.run("seed 0", steps=1) as tick:
        tick()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_a_stream_that_nobody_reads_any_more_stops_nothing(terminal, monkeypatch):
    class Gone(io.StringIO):
        def isatty(self):
            return terminal

        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setenv("TERM", "xterm")
    progress = Progress(stream=Gone())
    progress.expect(1)
    with progress.run("seed 0", steps=1) as tick:
        tick()
    assert progress.done == 1


def test_a_run_that_fails_gets_no_line():
    stream = io.StringIO()
    progress = Progress(stream=stream)
    with pytest.raises(KeyboardInterrupt), progress.run("seed 0", steps=1):
        raise KeyboardInterrupt
    assert stream.getvalue() == ""
