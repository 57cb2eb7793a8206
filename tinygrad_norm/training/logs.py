"""Strict JSON, a line at a time, for logs that other programs read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_norm.dtypes import StrPath


def append_jsonl(path: StrPath, record: Mapping[str, Any]) -> None:
    """Append `record` to a file as one line of strict JSON, in the file as soon as this returns.

    For NaN and the infinities JSON has no number: they become the strings "NaN", "Infinity" and "-Infinity".
    """
    line = json.dumps(strict_json(record), allow_nan=False) + "\n"
    with open(path, "ab+") as file:
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                line = "\n" + line  # what a crash cut short must not swallow this line
        file.write(line.encode())


def strict_json(value: Any) -> Any:
    """Put `value` in what strict JSON can say: NumPy's numbers and arrays become numbers and lists, NaN "NaN"."""
    if isinstance(value, (np.generic, np.ndarray)):
        return strict_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): strict_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict_json(item) for item in value]
    return value
