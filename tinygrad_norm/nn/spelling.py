"""Answers to a wrong spelling: the known name that was probably meant."""

from __future__ import annotations

import difflib
import dis
import inspect
from collections.abc import Collection, Iterable
from types import FrameType

IMPORT_FROM = dis.opmap["IMPORT_FROM"]

# What other libraries and papers call them; spelling alone would not lead there.
_ALIASES = {"learning_rate": "lr", "epsilon": "eps", "beta1": "betas", "beta2": "betas", "l2": "weight_decay"}


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to a word, or None: the same but for capitals, alike, or of the same letters.

    A layer that leaves out its number of dimensions is the one for images: "BatchNorm" is near to "BatchNorm2D".
    """
    by_lower, lower = {name.lower(): name for name in known}, word.lower()
    same = [name for name in (lower, f"{lower}2d") if name in by_lower]
    matches = same or difflib.get_close_matches(lower, by_lower, n=1, cutoff=0.7)
    matches = matches or [name for name in by_lower if sorted(name) == sorted(lower)]  # "mpl" is less alike "mlp"
    return by_lower[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message, "; did you mean X?", or nothing where no known name is near."""
    match = closest(word, known)
    return f"; did you mean {match}?" if match else ""


def refuse_unknown(owner: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise a TypeError for the first of `names` that is not `known`; it names the one that was probably meant."""
    for name in names:
        if name not in known:
            hint = did_you_mean(_ALIASES.get(name.lower(), name), known)
            raise TypeError(f"{owner} has no option {name!r} (it has {', '.join(sorted(known)) or 'none'}){hint}")


def refuse_unknown_keywords(cls: type[object], names: Iterable[str]) -> None:
    """Refuse keywords that the class's `__init__` does not take, unless it takes any."""
    known = inspect.signature(cls.__init__, follow_wrapped=False).parameters
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in known.values()):
        refuse_unknown(cls.__name__, names, known.keys() - {"self"})


def missing_name(module: str, name: str, known: Iterable[str], caller: FrameType) -> Exception:
    """Return the error for a module's `__getattr__` to raise about a name that it does not have.

    The interpreter turns an AttributeError under `from module import name` into words of its own, so that
    statement, told by the caller's current instruction, gets an ImportError; `getattr` and `hasattr` get the
    AttributeError that they expect.
    """
    words = f"module {module!r} has no attribute {name!r}{did_you_mean(name, known)}"
    if caller.f_code.co_code[caller.f_lasti] == IMPORT_FROM:
        return ImportError(words, name=module)
    return AttributeError(words, name=name)
