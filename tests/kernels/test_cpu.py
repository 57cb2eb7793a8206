"""The fast kernels as a whole: they offer what the reference offers."""

from __future__ import annotations

import inspect

from tinygrad_norm.kernels import cpu, reference


def public_functions(module):
    return {name: f for name, f in vars(module).items() if inspect.isfunction(f) and not name.startswith("_")}


def test_names_are_the_references():
    expected = {name for name, f in public_functions(reference).items() if f.__module__ == reference.__name__}
    assert set(cpu.__all__) == expected
    assert expected <= public_functions(cpu).keys()


def test_signatures_are_the_references():
    for name in cpu.__all__:
        ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (cpu, reference))
        assert [(p.name, p.kind, p.default) for p in ours.values()] == [
            (p.name, p.kind, p.default) for p in theirs.values()
        ]
