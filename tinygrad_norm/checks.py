"""What arguments may be: numbers, choices, flags, pairs and names, and the one form of the sentence that refuses them.

It reads "name: what is wanted, what was given, what was probably meant", as in "conv2d: stride is an integer of at
least 1, got 0": a TypeError for a type, a ValueError for a value. `name` says whose argument it is: "Conv2D: stride".
"""

from __future__ import annotations

import difflib
import dis
import inspect
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable
from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np

from tinygrad_norm.dtypes import Pair

IMPORT_FROM = dis.opmap["IMPORT_FROM"]

# What other libraries and papers call them; spelling alone would not lead there.
_ALIASES = {"learning_rate": "lr", "epsilon": "eps", "beta1": "betas", "beta2": "betas", "l2": "weight_decay"}


class Range(NamedTuple):
    """Which numbers are allowed, in words and as a test."""

    words: str
    test: Callable[[float], bool]


FINITE = Range("a finite number", math.isfinite)
POSITIVE = Range("a finite number above 0", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Range("a finite number of at least 0", lambda value: 0 <= value < math.inf)
UP_TO_INFINITY = Range("a number of at least 0, or infinite", lambda value: value >= 0)
FRACTION = Range("a number from 0 to 1", lambda value: 0 <= value <= 1)
BELOW_ONE = Range("a number of at least 0 and below 1", lambda value: 0 <= value < 1)


def check_number(name: str, value: Any, allowed: Range) -> float:
    """Return a number in a range as a float; no bool is one."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {allowed.words}, got {value!r} ({type(value).__name__})")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if abs(value) == value else -math.inf
        if not allowed.test(number):
            raise ValueError(f"{name} is {allowed.words}, got {_shown(value)}, beyond all floats") from None
    if not allowed.test(number):
        raise ValueError(f"{name} is {allowed.words}, got {number:g}")
    return number


def check_integer(name: str, value: Any, lowest: int, highest: float = sys.maxsize) -> int:
    """Return an integer from `lowest` to `highest` (what an index can be) as an int; no bool is one."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is an integer of at least {lowest}, got {value!r} ({type(value).__name__})")
    if value < lowest:
        raise ValueError(f"{name} is an integer of at least {lowest}, got {_shown(value)}")
    if int(value) > highest:
        raise ValueError(f"{name} is an integer of at most {highest}, got {_shown(value)}")
    return int(value)


def _shown(value: Any) -> str:
    """Return a number as text; of a long integer, which Python may refuse to write, how long it is."""
    if not isinstance(value, Integral):
        return f"a {type(value).__name__}"
    number = int(value)
    if abs(number) < 10**20:
        return str(value)
    digits = math.floor(number.bit_length() * math.log10(2)) + 1
    return f"{'a negative ' * (number < 0) or 'an '}integer of about {digits} digits"


def check_pair(name: str, value: Any, lowest: int) -> Pair:
    """Return one integer of at least `lowest` for the height and one for the width, given as two or as one for both."""
    given = tuple(value) if isinstance(value, tuple | list) else (value, value)
    is_pair = len(given) == 2 and all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in given)
    if is_pair and min(given) >= lowest:
        return int(given[0]), int(given[1])
    error = ValueError if is_pair else TypeError
    raise error(f"{name} is an integer of at least {lowest}, or one for height and one for width, got {value!r}")


def check_float_dtype(name: str, value: Any) -> np.dtype[Any]:
    """Return float32 or float64 as NumPy's dtype."""
    try:
        found = None if value is None else np.dtype(value)
    except TypeError:
        found = None
    for allowed in (np.dtype(np.float32), np.dtype(np.float64)):
        if found is not None and found == allowed:  # None is equal to float64
            return allowed
    raise TypeError(f"{name} is float32 or float64, got {repr(value) if found is None else found}")


def check_type(name: str, value: Any, kind: Any, words: str) -> None:
    """Raise a TypeError if a value is no instance of a class, of a union of some, or of Callable."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {words}, got {described(value)}")


def check_path(function: str, path: Any) -> None:
    """Raise a TypeError if the first argument of a function is no path of a file: a net or its arrays, perhaps."""
    check_type(f"{function}: path", path, str | os.PathLike, "that of a file, and comes first")


def check_flag(name: str, value: Any) -> None:
    """Raise a TypeError if an argument is neither True nor False: "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is True or False, got {value!r}")


def check_choice(name: str, value: Any, allowed: Iterable[str], function: str | None = None) -> None:
    """Raise a ValueError for what is none of `allowed`; a TypeError for no text, where a `function` would do too."""
    if (isinstance(value, str) and value in [*allowed]) or (function and callable(value)):
        return
    choices = [*map(repr, allowed), *([function] if function else ())]
    error = TypeError if function and not isinstance(value, str) else ValueError
    raise error(f"{name} is {' or '.join(choices)}, got {value!r}{did_you_mean(str(value), allowed)}")


def described(given: Any) -> str:
    """Return what was given in words: a text as it is, a class with the call that was probably meant, else the type."""
    if isinstance(given, type):
        return f"the class {given.__name__}; did you mean {given.__name__}(...)?"
    return repr(given) if given is None or isinstance(given, str) else type(given).__name__


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


class RefusesUnknownKeywords:
    """The base of a class that refuses a keyword as Python would, but says which one was probably meant."""

    def __new__(cls, *_arguments: Any, **keywords: Any) -> Self:
        """Refuse keywords that `__init__` does not take, unless it takes any."""
        if keywords:
            known = inspect.signature(cls.__init__, follow_wrapped=False).parameters
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in known.values()):
                refuse_unknown(cls.__name__, keywords, known.keys() - {"self"})
        return super().__new__(cls)


def module_getattr(module: str, known: Collection[str]) -> Callable[[str], object]:
    """Return the `__getattr__` of a module of these names: it refuses another, and says which was probably meant.

    The interpreter turns an AttributeError under `from module import name` into words of its own, so that
    statement, told by the caller's current instruction, gets an ImportError; `getattr` and `hasattr` get the
    AttributeError that they expect.
    """

    def refuse(name: str) -> object:
        words, caller = f"module {module!r} has no attribute {name!r}{did_you_mean(name, known)}", sys._getframe(1)
        if caller.f_code.co_code[caller.f_lasti] == IMPORT_FROM:
            raise ImportError(words, name=module)
        raise AttributeError(words, name=name)

    return refuse
