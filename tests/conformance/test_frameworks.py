from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest

from tinygrad_norm import nn, ops
from tinygrad_norm.conformance import frameworks
from tinygrad_norm.conformance.frameworks import FRAMEWORKS, TinygradNorm
from tinygrad_norm.conformance.kinds import NORM_KINDS

own = run_path(str(Path(__file__).parent / "own.py"))


def test_no_framework_is_imported_before_it_is_asked_for():
    code = "import sys, tinygrad_norm.cli; print(sorted({'torch', 'jax', 'onnx', 'onnxruntime'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torch", "certify: --from torch needs PyTorch: pip install torch"),
        ("jax", "certify: --from jax needs JAX: pip install jax"),
        ("onnx", "certify: --from onnx needs onnxruntime: pip install onnx onnxruntime"),
    ],
)
def test_one_that_is_not_installed_says_what_to_install(name, words, monkeypatch):
    monkeypatch.setattr(frameworks, "find_spec", lambda name: None)
    assert FRAMEWORKS[name].lacking() == list(FRAMEWORKS[name].packages)
    with pytest.raises(ImportError) as raised:
        FRAMEWORKS[name]()
    assert str(raised.value) == words


def test_only_what_lacks_is_to_be_installed(monkeypatch, tmp_path):
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(FRAMEWORKS["onnx"], "packages", ("numpy", "no_such_package"))
    with pytest.raises(ImportError, match=r"pip install no_such_package$"):
        FRAMEWORKS["onnx"]()


def test_norms_are_found_by_name(tmp_path):
    ours = TinygradNorm()
    (tmp_path / "own.py").write_text("def norm(x):\n    return x\n")
    assert ours.find("LayerNorm") is ours.find("tinygrad_norm.nn.LayerNorm") is nn.LayerNorm
    assert ours.find("layer_norm") is ours.find("tinygrad_norm.ops:layer_norm") is ops.layer_norm
    assert ours.find(f"{tmp_path}/own.py:norm")(3) == 3
    with pytest.raises(ValueError, match=r"tinygrad_norm\.nn has no 'LayerNrom'; did you mean LayerNorm"):
        ours.find("LayerNrom")
    with pytest.raises(ValueError, match=r"'LayerNorm' is no norm of NumPy; give package\.module\.Name"):
        frameworks.Framework.find(own["Plain"](), "LayerNorm")
    assert ours.kind("tinygrad_norm.nn.GroupNorm") == NORM_KINDS["group"]
    assert ours.kind("layer_norm.py:mine") is None  # a file's name says nothing


def test_every_norm_of_the_table_is_one_of_its_kind():
    for framework in FRAMEWORKS.values():
        for kind, names in framework.norms.items():
            assert kind in NORM_KINDS
            assert names
    ours = TinygradNorm()
    for kind, names in ours.norms.items():
        assert [ours.kind(name) for name in names] == [NORM_KINDS[kind]]


def test_modules_that_are_not_known_are_refused():
    class Module:
        pass

    with pytest.raises(ValueError, match="NumPy has functions, and no modules that are known here; certify a function"):
        own["Plain"]().bind(Module, NORM_KINDS["layer"], (3, 5), 1e-5, "float32", columns=False)
