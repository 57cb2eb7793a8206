"""What a certificate is made for: names, somebody's own layers, ops and functions, and the inputs that they take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.derivation.agreement import norms
from tinygrad_norm import FusedOp, Tensor, derive, ops
from tinygrad_norm.certificate import certify
from tinygrad_norm.certificate.targets import cases_of, load_target

# Somebody's own, by name


class Power(FusedOp):
    def composed(self, x: Tensor, *, exponent: float) -> Tensor:
        return x**exponent

    def forward(self, x: Any, *, exponent: float) -> Any:
        return x**exponent

    def gradient(self, grad: Any, x: Any) -> Any:
        exponent = self.params["exponent"]
        return (grad * exponent * x ** (exponent - 1),)


OWN = """
from tinygrad_norm import FusedOp, derive, nn, ops

class MyNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter([1.0] * channels)

    def forward(self, x):
        return ops.layer_norm_2d(x, self.weight)

def scaled(x, weight):
    return x.tanh() * weight

def strange(x, kind):
    return {"a": x}[kind]

class Gated(nn.Module):
    def forward(self, x, gate, scale=2.0):
        return x * gate.sigmoid() * scale

class Scaled(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        if x.shape[-1] != 7:
            raise ValueError("seven columns are wanted")
        return x * 2

class Named(nn.Module):
    def forward(self, x):
        return {"a": x * 2}

def pair(x):
    return x * 2, x

def array(x):
    return x.raw

class Scale(FusedOp):
    # one number for each channel, as a vector or as a column; its gradient has that shape alone
    column = False
    def composed(self, x, g):
        return x * ops.reshape(g, (-1, 1, 1))
    def forward(self, x, g):
        return x * g.reshape(-1, 1, 1)
    def gradient(self, grad, x, g):
        dg = (grad * x).sum((0, 2, 3), keepdims=self.column)
        return grad * g.reshape(-1, 1, 1), dg[0] if self.column else dg

class ScaleByColumn(Scale):
    column = True

class Never(Scale):
    def gradient(self, grad, x, g):
        raise ValueError("no way back")

@derive
def l1_norm(x, weight, *, axes, eps):
    xp = x.__array_namespace__()
    size = xp.mean(xp.abs(x), axis=axes, keepdims=True)
    return weight * x / (size + eps), size

@derive
def masked(x, mask, *, axes):
    xp = x.__array_namespace__()
    return x / xp.sqrt(xp.sum(xp.square(x) * mask, axis=axes, keepdims=True) / xp.sum(mask, axis=axes, keepdims=True))

@derive
def grn(x, gamma, *, pixels, channels, eps=1e-6):
    xp = x.__array_namespace__()
    size = xp.sqrt(xp.sum(xp.square(x), axis=pixels, keepdims=True) + eps)
    return gamma * x * size / (xp.mean(size, axis=channels, keepdims=True) + eps)

@derive
def clipped(x, *, axes, largest):
    xp = x.__array_namespace__()
    return xp.clip(x / xp.mean(xp.abs(x), axis=axes, keepdims=True), -largest, largest)

@derive
def of_four(x, *, a, b, c, d):
    xp = x.__array_namespace__()
    for axes in (a, b, c, d):
        x = x - xp.mean(x, axis=axes, keepdims=True)
    return x
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return str(tmp_path / "own.py")


def test_a_layer_and_a_function_from_a_file(own):
    certificate = certify(f"{own}:MyNorm")
    assert certificate.ok, str(certificate)
    assert certificate.name == "MyNorm"
    assert "dx without the mean term" in {mutant.change for mutant in certificate.mutants}
    assert certify(f"{own}:scaled").ok
    assert certify("tinygrad_norm.ops.activation:mish", (2, 3)).ok


def test_a_layer_of_two_inputs_gets_two(own):
    certificate = certify(f"{own}:Gated")
    assert certificate.ok, str(certificate)
    assert "gradients 0 and 1 swapped" in {mutant.change for mutant in certificate.mutants}
    assert certify(f"{own}:Gated", (2, 3), (2, 1)).ok


@pytest.mark.parametrize(("name", "shape"), [("Scale", (3,)), ("ScaleByColumn", (3, 1, 1))])
def test_a_parameter_has_the_shape_with_which_the_way_back_works(name, shape, own):
    (case,) = (case for case in cases_of(f"{own}:{name}", (), np.random.default_rng(0)) if not case.larger)
    assert [given.shape for given in case.inputs] == [(2, 3, 1, 4), shape]
    assert certify(f"{own}:{name}").ok


@pytest.mark.parametrize(
    ("name", "cases", "shapes"),
    [
        ("l1_norm", ["axes=(1,)", "axes=(0, 2)"], [[(3, 5), (5,)], [(3, 4, 2), (4, 1)]]),
        ("masked", ["axes=(1,)", "axes=(0, 2)"], [[(3, 5), (3, 5)], [(3, 4, 2), (3, 4, 2)]]),
        ("grn", ["pixels=(2, 3), channels=(1,)"], [[(2, 3, 2, 2), (3, 1, 1)]]),
    ],
)
def test_a_derived_norm_knows_its_inputs(name, cases, shapes, own):
    found = [case for case in cases_of(load_target(f"{own}:{name}"), (), np.random.default_rng(0)) if not case.larger]
    assert [case.name for case in found] == cases
    assert [[given.shape for given in case.inputs] for case in found] == shapes
    assert name != "masked" or all((case.inputs[1] > 0).all() for case in found)
    certificate = certify(f"{own}:{name}")
    assert certificate.ok, str(certificate)
    assert (certificate.name, certificate.cases) == (name, cases)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("BatchNorm2d", "'BatchNorm2d' is no layer or op; did you mean BatchNorm2D?"),
        ("layernorm", "did you mean LayerNorm"),
        ("xyz", r"is no layer or op \(they are AdaIN, .*path/to/file.py:Name"),
        ("argmax", "argmax has no gradient"),
        ("{own}:MyNrom", "has no 'MyNrom'; did you mean MyNorm"),
        ("{own}:Scaled", r"no input was found that Scaled takes \(ValueError: seven columns are wanted\)"),
        ("{own}:Named", "Named returns one tensor, got dict"),
        ("{own}:pair", "pair returns one tensor, got tuple"),
        ("{own}:array", "array returns one tensor, got ndarray"),
        ("{own}:strange", "no input was found that strange takes .* --shape"),
        ("{own}:Never", r"no input was found that Never takes \(ValueError: no way back\); give the shape of each"),
        (
            "{own}:clipped",
            r"clipped has to be told largest; give --option largest=... .*, or certify\(what, largest=...\)",
        ),
        ("{own}:of_four", r"of_four has 4 sets of axes; say which, as a=\(0, 2\)"),
        ("nowhere.py:Name", "nowhere.py cannot be imported: FileNotFoundError"),
        ("no.such.module:Name", "no.such.module cannot be imported: ModuleNotFoundError"),
    ],
)
def test_bad_names_get_one_clear_error(what, message, own):
    with pytest.raises(ValueError, match=message) as raised:
        certify(what.format(own=own))
    assert "\n" not in str(raised.value)


def test_results_and_numbers_of_inputs_are_checked_for_shapes_of_ones_own(own):
    for what in (load_target(f"{own}:Named"), load_target(f"{own}:Named")()):
        with pytest.raises(ValueError, match="Named returns one tensor, got dict"):
            certify(what, (2, 3))
    for what in (load_target(f"{own}:Gated"), load_target(f"{own}:Gated")()):
        with pytest.raises(ValueError, match=r"Gated takes x, gate, scale=2\.0; 1 input given"):
            certify(what, (2, 3))
    with pytest.raises(ValueError, match="strange takes x, kind; 3 inputs given"):
        certify(f"{own}:strange", (2, 3), (2,), (2,))


def test_other_bad_input(own):
    with pytest.raises(ValueError, match="BatchNorm2D has inputs and options of its own"):
        certify("BatchNorm2D", (2, 3))
    for shapes in ((), [(2, 3)]):
        with pytest.raises(ValueError, match="Power has to be told exponent; give --option exponent="):
            certify(Power, *shapes)
    with pytest.raises(ValueError, match="no input of abs is of floats, so there is no gradient"):
        certify(ops.abs, np.array([1, 2]))
    assert not certify(ops.argmax, (3, 4))
    with pytest.raises(ValueError, match="l1_norm has to be told axes, eps; give --option axes="):
        certify(f"{own}:l1_norm", (3, 4), (4,))
    with pytest.raises(ValueError, match="5 is no layer, no op and no function"):
        certify(5, (2, 3))


def test_options_are_given_by_name(own):
    assert certify(Power, (3, 4), exponent=2).ok
    norm = load_target(f"{own}:clipped")
    shapes = [case.inputs[0].shape for case in cases_of(norm, (), np.random.default_rng(0), {"largest": 0.7})]
    assert shapes[:2] == [(3, 5), (3, 4, 2)]
    (case, _) = cases_of(norm, (), np.random.default_rng(0), {"largest": 0.7, "axes": (0, 2)})
    x = case.inputs[0]
    assert x.shape == (2, 3, 1, 4)
    np.testing.assert_array_equal(case.call(x).raw, norm(x, axes=(0, 2), largest=0.7).raw)
    (case, _) = cases_of(
        load_target(f"{own}:l1_norm"), ((3, 4), (4,)), np.random.default_rng(0), {"axes": 1, "eps": 0.1}
    )
    assert case.call(*case.inputs).shape == (3, 4)  # without the statistic


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        (
            "{own}:clipped",
            {"larges": 1},
            r"clipped has no option 'larges' \(it has axes, largest\); did you mean largest?",
        ),
        (
            "{own}:clipped",
            {"largest": 1, "axes": 7},
            r"no input was found that clipped takes \(ValueError: clipped: axes: ",
        ),
        ("{own}:MyNorm", {"eps": 1}, "options are those of a function; give MyNorm made with them"),
        ("BatchNorm2D", {"eps": 1}, "BatchNorm2D has inputs and options of its own"),
    ],
)
def test_options_that_are_not_there_are_refused(what, options, message, own):
    with pytest.raises(ValueError, match=message):
        certify(what.format(own=own), **options)


def test_what_has_no_gradient_by_definition_is_no_input_of_differences():
    (case, *_) = cases_of(derive(norms["batch_renorm"]), (), np.random.default_rng(0), {"r_max": 1.5, "d_max": 0.7})
    assert [given.dtype for given in case.inputs] == ["float64", "float32", "float32"]
    assert case.constants == ("running_mean", "running_var")


def test_a_file_that_ends_itself_is_told(tmp_path):
    (tmp_path / "own.py").write_text("import sys\nsys.exit()\n")
    with pytest.raises(ValueError, match=r"own\.py cannot be imported: SystemExit"):
        load_target(f"{tmp_path / 'own.py'}:f")
