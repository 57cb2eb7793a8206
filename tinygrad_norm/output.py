"""Text on its way to a person: names out of files that no terminal obeys, and streams that may be gone."""

from __future__ import annotations

import codecs
import os
from typing import Any, TextIO

LOOKALIKES = {"−": "-", "–": "-", "×": "x", "·": ".", "→": "->", "←": "<-", "…": "...", "’": "'", "µ": "u", "²": "^2"}
"""What stands for the letters of this package where an encoding has none of them."""
ESCAPING = "tinygrad_norm.escaping"
"""The name of the error handler for encodings: what one does not know is shown by what looks like it, or escaped."""


def printable(text: object, longest: int | None = None) -> str:
    r"""Return text that a terminal, a picture or a page shows and does not obey.

    Control characters, line ends, escapes and halves of letters become what Python writes for them, such as \x1b.

    Args:
        text: a name, a path, an error.
        longest: the most letters; the middle of a longer text becomes one "…".
    """
    shown = str(text)
    if longest is not None and len(shown) > longest:  # before escaping, which need not see all of it
        shown = _cut(shown, longest)
    if not shown.isprintable():
        shown = "".join(letter if letter.isprintable() else _escaped(letter) for letter in shown)
    return shown if longest is None else _cut(shown, longest)


class UnfailingStream:
    """A text stream for what nobody has to read, as progress is: writing to it never raises.

    What the encoding lacks is written by `ESCAPING`. After the first failure, as of a pipe that nobody reads or of a
    full disk, or where there is no stream, nothing is written any more and `failed` is True.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failed = stream is None

    def write(self, text: str) -> int:
        if self._stream is not None and not self.failed:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError as error:
                    self._stream.write(text.encode(error.encoding, ESCAPING).decode(error.encoding))
            except (OSError, ValueError):  # gone, full, or closed
                self.failed = True
        return len(text)

    def flush(self) -> None:
        if self._stream is not None and not self.failed:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self.failed = True

    def can_redraw(self) -> bool:
        """Return whether a line can be written anew, as a bar is."""
        return self.isatty() and os.environ.get("TERM") != "dumb"

    def isatty(self) -> bool:
        return self._stream is not None and not getattr(self._stream, "closed", False) and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _cut(text: str, longest: int) -> str:
    end = longest // 3
    return text if len(text) <= longest else f"{text[: longest - end - 1]}…{text[len(text) - end :]}"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _replace_unknown(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(LOOKALIKES.get(letter) or _escaped(letter) for letter in unknown), error.end


codecs.register_error(ESCAPING, _replace_unknown)
