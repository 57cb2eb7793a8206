"""The fast kernels as a whole: they offer what is defined."""

from __future__ import annotations

import inspect

from tinygrad_norm import definitions
from tinygrad_norm.kernels import cpu


def public_functions(module):
    return {name: f for name, f in vars(module).items() if inspect.isfunction(f) and not name.startswith("_")}


def test_names_are_those_of_the_definitions():
    assert public_functions(cpu).keys() == public_functions(definitions).keys()


def test_signatures_are_those_of_the_definitions():
    for name in public_functions(definitions):
        ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (cpu, definitions))
        assert [(p.name, p.kind, p.default) for p in ours.values()] == [
            (p.name, p.kind, p.default) for p in theirs.values()
        ]
