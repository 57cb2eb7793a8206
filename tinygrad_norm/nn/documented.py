"""What `help(layer)` shows of a norm layer: its own docstring, with its formula and all of its arguments."""

from __future__ import annotations

import inspect
import re
from typing import Any

SECTIONS = ("Args", "Raises", "State", "Source", "Example")
"""The parts of a docstring with a title, in their order."""
ARGUMENTS = {
    "normalized_shape": "the lengths of the trailing axes, or one number.",
    "num_groups": "divides C.",
    "num_channels": "C.",
    "num_features": "C.",
    "eps": "added to the variance.",
    "momentum": "the weight of the new value in the running statistics; None: their plain average.",
    "affine": "whether there are weight and bias, shape (C,).",
    "elementwise_affine": "whether there is a weight, shape `normalized_shape`.",
    "track_running_stats": "whether running statistics are kept; without, inference uses those of its input too.",
    "bias": "whether there is a bias beside the weight.",
    "activation": "applied in the same kernel: the name of one, or (name, parameter).",
    "fused": "False to build it from primitives, with the same state and the same results.",
    "dtype": "of the parameters, float32 unless given.",
}
"""What these mean in every norm layer that says nothing else."""


def documented(kind: Any) -> str:
    """Return the docstring of a norm layer, with what it leaves to others.

    The formula is the first line of the docstring of the layer's `definition`. What it raises, keeps and comes from is
    that of its base unless it says so itself; one that differs from its base in the shape of the input alone, and says
    that in a line, has the text of its base too.
    """
    text, sections = _parts(kind)
    if len(text) == 1 and sections.keys() <= {"Example"}:
        text += _parts(kind.__mro__[1])[0]
    for base in kind.__mro__[1:]:
        sections = {name: part for name, part in _parts(base)[1].items() if name != "Example"} | sections
    formula = (inspect.getdoc(getattr(kind, "definition", None)) or "").partition("\n")[0]
    if formula and not any("y = " in each for each in text):
        text.append(f"y = {formula}")
    told = sections.get("Args", "Args:")
    known = getattr(kind, "__dataclass_fields__", {})
    more = [f"    {name}: {words}" for name, words in ARGUMENTS.items() if name in known and not _tells(told, name)]
    sections["Args"] = "\n".join([told, *more])
    return "\n\n".join([*text, *(sections[name] for name in SECTIONS if name in sections)])


def _tells(arguments: str, name: str) -> bool:
    """Whether a section has a line of this argument, alone or among others."""
    return bool(re.search(rf"^    (?:\w+, )*{name}(?:, \w+)*:", arguments, re.MULTILINE))


def _parts(kind: Any) -> tuple[list[str], dict[str, str]]:
    """The paragraphs of the docstring of a class, and its sections by their titles."""
    text, sections = list[str](), dict[str, str]()
    for part in inspect.cleandoc(vars(kind).get("__doc__") or "").split("\n\n"):
        title = part.partition(":")[0]
        if title in SECTIONS:
            sections[title] = part
        elif part:
            text.append(part)
    return text, sections
