from __future__ import annotations

import errno
import io

import pytest

from tinygrad_norm.output import ESCAPING, UnfailingStream, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layers.0.weight", "layers.0.weight"),
        ("Käse 日本 × \\", "Käse 日本 × \\"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x9b2J \u202eback \ud800", "\\x9b2J \\u202eback \\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert printable(text) == shown
    assert shown.isprintable()


def test_a_long_text_loses_its_middle():
    assert printable("a" * 20_000 + "z" * 20_000, 10) == "aaaaaa…zzz"
    assert printable("a" * 10, 10) == "a" * 10
    assert len(printable("\x1b" * 9, 10)) == 10


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("ascii", b"1 x 2 - 3 -> u.. \\xe9 \\udc80"), ("cp1252", b"1 \xd7 2 - 3 -> \xb5.. \xe9 \\udc80")],
)
def test_an_encoding_without_a_letter_gets_what_looks_like_it_or_its_escape(encoding, written):
    assert "1 × 2 − 3 → µ.. é \udc80".encode(encoding, ESCAPING) == written


class Failing(io.StringIO):
    """A stream that takes one write."""

    def __init__(self, error):
        super().__init__()
        self.error, self.calls = error, 0

    def write(self, text):
        self.calls += 1
        if self.calls > 1:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "no terminal"), ValueError("closed")]
)
def test_a_stream_that_fails_is_silent_from_then_on(error):
    stream = Failing(error)
    safe = UnfailingStream(stream)
    for text in ("one", "two", "three"):
        assert safe.write(text) == len(text)
        safe.flush()
        assert safe.failed == (text != "one")
    assert (stream.getvalue(), stream.calls) == ("one", 2)


def test_a_flush_may_fail_too():
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "full")

    safe = UnfailingStream(Full())
    print("one", file=safe, flush=True)
    assert safe.failed


def test_no_stream_and_a_closed_one_are_no_terminal_and_take_all():
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        safe = UnfailingStream(stream)
        assert not safe.isatty()
        print("text", file=safe, flush=True)
        assert safe.failed


def test_a_letter_that_a_stream_lacks_does_not_end_it():
    raw = io.BytesIO()
    safe = UnfailingStream(io.TextIOWrapper(raw, "ascii"))
    print("a −", "b", file=safe, flush=True)
    assert raw.getvalue() == b"a - b\n"
    assert not safe.failed
    assert safe.encoding == "ascii"
