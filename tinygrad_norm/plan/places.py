"""Whose code it is: this package's, an installed one's, or the user's."""

from __future__ import annotations

import dis
import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_PACKAGE = Path(__file__).parents[1]
_NAME = _PACKAGE.name
_OURS = f"{_PACKAGE}{os.sep}"
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def is_ours(file: str) -> bool:
    """Whether a file is one of this package's."""
    return file.startswith(_OURS)


def is_users_file(file: str) -> bool:
    """Whether a file is neither this package's nor an installed one's."""
    return not file.startswith((_OURS, *_INSTALLED, "<frozen "))


def is_users(module: str | None) -> bool:
    """Whether a module is neither this package's nor an installed one's; code that was made by `exec` has none."""
    root = module.split(".")[0] if module else ""
    if root == _NAME:
        return False
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return is_users_file(file) if file else root not in sys.stdlib_module_names or root == "__main__"


def line_of(frame: FrameType) -> str:
    """The line that is running in a frame."""
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def users_line() -> str:
    """The line of the user's that is running; if there is none, one outside of this package."""
    frame: FrameType | None = sys._getframe()
    outside = frame
    while frame is not None and not is_users_file(frame.f_code.co_filename):
        if is_ours(frame.f_code.co_filename):
            outside = frame.f_back
        frame = frame.f_back
    found = frame or outside
    return "" if found is None else line_of(found)


def line_where_defined(function: Any) -> str:
    """The line where a function begins, or what a module or another object does when it is called; "" of others."""
    while (inner := getattr(function, "__func__", None) or getattr(function, "func", None)) is not None:
        function = inner
    methods = (getattr(type(function), name, None) for name in ("forward", "__call__"))
    codes = [code for each in (function, *methods) if (code := getattr(each, "__code__", None)) is not None]
    return f"{Path(codes[0].co_filename).name}:{codes[0].co_firstlineno}" if codes else ""


_CHANGES = {
    *("append", "extend", "insert", "remove", "pop", "popitem", "clear", "reverse", "sort", "update", "setdefault"),
    *("add", "discard", "difference_update", "intersection_update", "symmetric_difference_update"),
}
"""Methods that change a container."""


def lines_of_stores(codes: Iterable[CodeType], name: Any) -> str:
    """The lines at which code stores to an attribute, a variable or a key of this name.

    If there are none, those at which it stores to a variable of an outer function or changes a container; "" if there
    are none either.
    """
    named: dict[str, None] = {}
    others: dict[str, None] = {}
    for code in codes:
        before = None
        for each in dis.get_instructions(code):
            line = each.positions.lineno if each.positions is not None else None
            where = f"{Path(code.co_filename).name}:{line or code.co_firstlineno}"
            if each.opname.startswith(("STORE_", "DELETE_")) and not each.opname.endswith("_FAST"):
                key = before.argval if before is not None and each.opname.endswith("_SUBSCR") else each.argval
                (named if key == name else others)[where] = None
            elif each.opname in ("LOAD_METHOD", "LOAD_ATTR") and each.argval in _CHANGES:
                others[where] = None
            before = each
    found = [*(named or others)]
    return " or ".join(found[:3])
