"""The examples of docstrings run, and every public name has one; its docstring has the parts that it should have."""

from __future__ import annotations

import ast
import doctest
import functools
import importlib
import importlib.util
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_norm
from tinygrad_norm import certificate, conformance, doctor, experiments, models, viz

spec = importlib.util.spec_from_file_location(
    "reference", Path(__file__).parent.parent / "docs" / "_extensions" / "reference.py"
)
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)

NO_EXAMPLE = {
    "tinygrad_norm.conformance.measure": "of another framework, which may not be there",
    "tinygrad_norm.data.cifar10": "of files that are not in the package",
    "tinygrad_norm.data.cifar100": "of files that are not in the package",
    "tinygrad_norm.data.mnist": "of files that are not in the package",
    "tinygrad_norm.experiments.Report": "what `run` returns",
    "tinygrad_norm.experiments.run": "takes a minute or more",
    "tinygrad_norm.training.Result": "what `train` returns",
    "tinygrad_norm.ops.from_numpy_function": "what NumPy calls",
    "tinygrad_norm.ops.from_numpy_ufunc": "what NumPy calls",
}
"""Public names without an example, and why."""
NAMES = {
    "np": np,
    **{name: getattr(tinygrad_norm, name) for name in tinygrad_norm.__all__},
    **{each.__name__.rpartition(".")[2]: each for each in (certificate, conformance, doctor, experiments, models, viz)},
}
"""What examples go on from; docs/reference/index.md says so."""
PUBLIC = {each.path: each.value for each in reference.all_publics()}


@functools.cache
def areas() -> dict[str, list[Any]]:
    return {area.name: reference.publics(area) for area in reference.AREAS}


@pytest.mark.parametrize("area", [area.name for area in reference.AREAS])
def test_examples_run(area, tmp_path, monkeypatch, plain_numpy):
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST)
    for public in areas()[area]:
        importlib.import_module("tinygrad_norm.nn.flops")
        tinygrad_norm.manual_seed(0)
        parsed = doctest.DocTestParser().get_doctest(
            inspect.getdoc(public.value) or "", dict(NAMES), public.path, None, 0
        )
        folder = tmp_path / public.name
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        runner.run(parsed, out=told.append)
    assert not told, "".join(told)


@pytest.mark.parametrize("path", PUBLIC)
def test_every_public_name_has_an_example(path):
    assert (">>>" in (inspect.getdoc(PUBLIC[path]) or "")) != (path in NO_EXAMPLE)


def test_names_without_an_example_are_public():
    assert NO_EXAMPLE.keys() <= PUBLIC.keys()


def raises(function: Any) -> bool:
    """Whether a function raises an error in its own text."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree))


@pytest.mark.parametrize("path", [path for path, value in PUBLIC.items() if inspect.isfunction(value)])
def test_a_function_that_raises_says_so(path):
    assert "Raises:" in PUBLIC[path].__doc__ or not raises(PUBLIC[path])


NORMS = {path: value for path, value in PUBLIC.items() if hasattr(value, "definition") and inspect.isclass(value)}


@pytest.mark.parametrize("path", [path for path in NORMS if path.startswith("tinygrad_norm.nn.")])
def test_a_norm_tells_formula_arguments_and_source(path):
    text = inspect.getdoc(NORMS[path])
    assert "y = " in text or path.endswith("LocalResponseNorm")
    assert "\nSource: " in text
    told = text[text.index("\nArgs:") :]
    for name in inspect.signature(NORMS[path]).parameters:
        assert f"{name}:" in told or f"{name}, " in told


def test_the_reference_has_every_public_name_once():
    text = "\n".join(text for _, text in reference.pages())
    for path, value in PUBLIC.items():
        on_a_page_of_its_own = path.rpartition(".")[2] in reference.norm_names()
        directives = re.findall(rf"^:::::\{{py:\w+\}} {re.escape(path)}(?![\w.])", text, re.MULTILINE)
        assert len(directives) == (not on_a_page_of_its_own), path
        assert f"{path}>`" in text or not on_a_page_of_its_own, value


def test_a_text_links_to_what_is_public_and_to_nothing_else():
    writer = reference.Writer()
    assert writer.prose("as in `BatchNorm2D`, x * y") == (
        "as in {py:obj}`BatchNorm2D <tinygrad_norm.nn.BatchNorm2D>`, x \\* y"
    )
    assert writer.prose("see `nothing_of_ours` and `ops.relu`") == (
        "see `nothing_of_ours` and {py:obj}`ops.relu <tinygrad_norm.ops.relu>`"
    )


def test_certificates_on_the_pages_are_of_norms_and_passed():
    known = json.loads((Path(reference.__file__).parents[1] / "norms" / "certificates.json").read_text("utf-8"))
    assert known.keys() <= {*reference.norm_names()}
    assert all(text.endswith("\npassed") for text in known.values())
