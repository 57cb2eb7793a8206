"""`tinygrad-norm certify` and `conformance`, called as the console script calls them."""

from __future__ import annotations

import io
import json

import pytest

from tinygrad_norm.cli import certification
from tinygrad_norm.conformance import document, frameworks, measurement, trials

# certify


OWN = """
import numpy as np
from tinygrad_norm import FusedOp

class Cube(FusedOp):
    factor = 3
    def composed(self, x):
        return x * x * x
    def forward(self, x):
        return x * x * x
    def gradient(self, grad, x):
        return (grad * self.factor * x * x,)

class Wrong(Cube):
    factor = 2
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return "own.py"


def test_certify_prints_a_table_and_ends_in_0_or_1(run, own):
    status, out, err = run("certify", f"{own}:Cube")
    assert (status, err) == (0, "")
    assert out.startswith("Cube: one case")
    assert "sizes: 2×3×1×4; for first derivatives also 18×19×17×20\n" in out
    assert "11 of 11 killed; 2 more made no difference here" in out
    status, out, err = run("certify", f"{own}:Wrong", "--shape", "3,5")
    assert (status, err) == (1, "")
    assert "FAILED" in out
    assert "derivative 1, input 0: at " in out


def test_certify_knows_a_norm_by_its_name_in_the_zoo_too(run, monkeypatch):
    asked = []

    def certify(what, **options):
        asked.append(what)
        return "a certificate"

    monkeypatch.setattr(certification, "certify", certify)
    for name in ("renorm", "ScaleNorm", "scale"):  # of which the last is an op too
        assert run("certify", name)[0] == 0
    assert asked == ["BatchRenorm2D", "ScaleNorm", "scale"]


def test_certify_tells_a_norm_its_options(run, tmp_path):
    (tmp_path / "norm.py").write_text(
        "from tinygrad_norm import derive\n"
        "@derive\n"
        "def scaled(x, *, axes, by):\n"
        "    xp = x.__array_namespace__()\n"
        "    return (x - xp.mean(x, axis=axes, keepdims=True)) * by\n"
    )
    status, out, _ = run("certify", "norm.py:scaled", "--option", "by=3", "--option", "axes=0,2")
    assert status == 0
    assert "sizes: 2×3×1×4; " in out


def test_certify_json(run, own):
    status, out, _ = run("certify", "gelu", "--json", "--seed", "3")
    assert status == 0
    found = json.loads(out)
    assert (found["name"], found["ok"]) == ("gelu", True)
    status, out, _ = run("certify", f"{own}:Wrong", "--json")
    assert status == 1
    assert json.loads(out)["mutants"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("certify BatchNrom2D", "did you mean BatchNorm2D?"),
        ("certify nowhere.py:Name", "nowhere.py cannot be imported"),
        ("certify argmax", "argmax has no gradient"),
        ("certify BatchNorm2D --shape 2,x", "a shape is lengths of at least 1, such as 2,3,4, got '2,x'"),
        ("certify gelu --seed -1", "--seed is an integer of at least 0, got -1"),
        ("certify", "WHAT"),
        ("certify LayerNorm --kind layer", "certify: --kind is for certify with --from"),
        ("certify LayerNorm --eps 0", "certify: --eps is for certify with --from"),
        ("certify LayerNorm --from tinygrad_norm --shape 2,3", "certify: --shape is for certify without --from"),
        ("certify LayerNorm --from tinygrad_norm --option eps=0", "certify: --option is for certify without --from"),
        ("certify gelu --option kind=1", "certify: gelu has inputs and options of its own"),
        ("certify own.py:Cube --option power=3", "certify: Cube has no option 'power' (it has none)"),
        (
            "certify own.py:Cube --option seed=3",
            "certify: --option is what a norm is told; a name, a seed or progress is",
        ),
        ("certify own.py:Cube --option 3", "an option is NAME=VALUE, such as width=0.5, got '3'"),
        ("certify LayerNorm --from tinygrad_norm --seed 0", "certify: --seed is for certify without --from"),
        ("certify LayerNorm --from tinygrad_norm --eps -1", "--eps is a finite number of at least 0, got -1"),
        ("certify LayerNrom --from tinygrad_norm", "tinygrad_norm.nn has no 'LayerNrom'; did you mean LayerNorm?"),
        ("certify LayerNorm --from pytorch", "there is no 'pytorch', only tinygrad_norm, torch, jax, onnx; did you"),
        ("certify LayerNorm --from tinygrad_norm --kind bach", "did you mean batch?"),
        ("conformance -o table.txt", "conformance: the file is .md, got '.txt'"),
        ("conformance -o own.py/table.md", "is a file, not a folder"),
    ],
)
def test_bad_input_is_one_line_and_status_2(run, own, arguments, message):
    status, out, err = run(*arguments.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_certify_shows_how_far_it_is_on_a_terminal_alone(run, own, monkeypatch):
    status, out, err = run("certify", f"{own}:Cube")
    assert (status, err) == (0, "")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    status, shown, _ = run("certify", f"{own}:Cube")
    assert status == 0
    assert [line for line in shown.splitlines() if "passed in" not in line] == [
        line for line in out.splitlines() if "passed in" not in line
    ]
    assert "checks:" in terminal.getvalue()
    assert "wrong gradients:" in terminal.getvalue()


# certify --from, and conformance


NORMS = """
import numpy as np
from tinygrad_norm import ops

def right(x, weight, bias, eps):
    return ops.layer_norm(x, x.shape[-1], weight, bias, eps)

def one_pass(x, weight, bias, eps):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / (x.square().mean(-1, keepdims=True) - mean.square() + eps).sqrt() * weight + bias

def median(x):
    return x - np.median(x.numpy())
"""


@pytest.fixture
def few(monkeypatch, tmp_path):
    """Two quick checks; norms of somebody's own in norms.py."""
    every = trials.trials()
    chosen = {name: every[name] for name in ("value, randn", "value, 2000 + randn")}
    for module in (measurement, document):
        monkeypatch.setattr(module, "trials", lambda: chosen)
    (tmp_path / "norms.py").write_text(NORMS)


def test_certify_from_a_framework_prints_a_table_and_ends_in_0_or_1(run, few):
    status, out, err = run("certify", "--from", "tinygrad_norm", "norms.py:right")
    assert (status, err) == (0, "")
    assert out.startswith("norms.py:right of tinygrad_norm ")
    assert out.endswith("\n\nno check deviates\n")
    status, out, _ = run("certify", "--from", "tinygrad_norm", "norms.py:one_pass")
    assert status == 1
    assert "value, 2000 + randn" in out
    assert "DEVIATES" in out
    status, out, _ = run("certify", "--from", "tinygrad_norm", "norms.py:one_pass", "--json", "--kind", "layer")
    assert status == 1
    found = json.loads(out)
    assert (found["ok"], found["kind"], [row["verdict"] for row in found["outcomes"]]) == (
        False,
        "layer",
        ["ok", "DEVIATES"],
    )


def test_certify_from_a_framework_takes_eps(run, few):
    arguments = ("certify", "--from", "tinygrad_norm", "norms.py:right", "--eps")
    assert run(*arguments, "0.5")[0] == 0
    status, _, err = run("certify", "--from", "tinygrad_norm", "norms.py:median")
    assert status == 2
    assert "norms.py:median is no norm that is known (layer, rms, batch, group, instance, " in err


def test_a_framework_that_is_not_installed_is_told_in_one_line(run, monkeypatch):
    monkeypatch.setattr(frameworks, "find_spec", lambda name: None)
    for name, words in (("torch", "PyTorch: pip install torch"), ("onnx", "onnxruntime: pip install onnx onnxruntime")):
        status, out, err = run("certify", "--from", name, "anything")
        assert (status, out, err) == (2, "", f"tinygrad-norm: certify: --from {name} needs {words}\n")


def test_conformance_writes_the_page_of_what_is_installed(run, few, monkeypatch, tmp_path):
    monkeypatch.setattr(document, "FRAMEWORKS", {"tinygrad_norm": frameworks.TinygradNorm})
    status, out, err = run("conformance", "-o", "table.md")
    assert (status, out, err) == (0, "written: table.md\n", "")
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    status, out, _ = run("conformance")
    assert (status, out) == (0, page)
    assert page.startswith("# Conformance\n")
