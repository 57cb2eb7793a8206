"""The certificate: what it says, in text and as JSON, and that it leaves everything as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.certificate.wrong_ops import Cube, Raising, failed
from tests.derivation.agreement import norms
from tinygrad_norm import derive, nn, ops, random
from tinygrad_norm.certificate import certification, certify
from tinygrad_norm.certificate.comparisons import VALUE


def test_a_mutant_that_survives_fails_the_certificate(monkeypatch):
    monkeypatch.setattr(certification, "kills", lambda case: [])
    certificate = certify(Cube, (3, 5))
    assert failed(certificate) == {}
    assert not certificate.ok
    assert f"0 of {len(certificate.mutants)} killed" in str(certificate)
    assert "SURVIVED: gradient 0 times 1.01 of Cube" in str(certificate)
    assert "\nFAILED in " in str(certificate)


def test_two_runs_are_alike_and_leave_the_generator_alone():
    random.manual_seed(7)
    state = random.state_dict()
    one, two = [certify("Dropout").to_json() for _ in range(2)]
    assert one | {"seconds": 0} == two | {"seconds": 0}
    assert random.state_dict() == state
    other = certify("Dropout", seed=1).to_json()
    assert other["checks"] != one["checks"]


def test_the_text_and_json_tell_the_same():
    certificate = certify("gelu")
    lines = str(certificate).splitlines()
    assert lines[0] == "gelu: one case, float64, random cotangents"
    assert lines[1] == "sizes: 3×4; for first derivatives also 259×260"
    assert lines[2].startswith("in memory: contiguous; for first derivatives also channels last, in Fortran order, ")
    assert lines[4].split() == ["check", "largest", "error", "bound", "in"]
    assert lines[5].startswith(VALUE)
    assert lines[5].split()[-1] == "ok"
    assert lines[-1].startswith("passed in ")
    assert f"{len(certificate.mutants)} killed; {certificate.without_effect} more made no difference here" in str(
        certificate
    )
    found = json.loads(json.dumps(certificate.to_json(), allow_nan=False))
    assert (found["name"], found["ok"], len(found["checks"])) == ("gelu", True, 11)
    assert (found["sizes"], found["larger"], len(found["layouts"])) == (["3×4"], ["259×260"], 5)
    assert found["without_effect"] == certificate.without_effect
    wrong = certify(Raising, (2, 3)).to_json()
    assert json.dumps(wrong, allow_nan=False)
    assert None in {check["error"] for check in wrong["checks"]}


def test_the_heading_tells_where_there_are_no_larger_inputs():
    assert "sizes: 3×4; for first derivatives none larger was found that it takes" in str(certify("reshape"))
    assert "sizes: a number; " in str(certify(ops.exp, np.array(0.5)))


def test_a_layer_of_ones_own_stays_as_it_is():
    layer = nn.BatchNorm1D(3).eval()
    before, parameters = layer.state_dict(), list(layer.parameters())
    certificate = certify(layer, (5, 3))
    assert certificate.ok, str(certificate)
    assert certificate.cases == ["training", "inference"]
    assert all(one is other for one, other in zip(layer.parameters(), parameters, strict=True))
    assert not layer.training
    for key, array in layer.state_dict().items():
        assert array.dtype == before[key].dtype
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("name", ["grn", "batch_renorm", "linf_norm", "masked_norm"])
def test_the_norms_that_stress_the_engine_are_certified(name):
    renorm = name == "batch_renorm"
    certificate = certify(derive(norms[name]), **({"r_max": 1.5, "d_max": 0.7} if renorm else {}))
    assert certificate.ok, str(certificate)
    told = [
        "held in differences, as in the definition: what stop_gradient returns",
        "without a gradient, by the definition: running_mean and running_var",
    ]
    assert [line for line in told if line in str(certificate)] == (told if renorm else [])
    assert (certificate.holds, certificate.constants) == (renorm, ["running_mean", "running_var"] if renorm else [])
