"""ONNX's norms in onnxruntime by the measure of `certify --from`: values alone."""

from __future__ import annotations

import onnxruntime
import pytest

from tinygrad_norm.conformance import measure, measurement, trials
from tinygrad_norm.conformance.frameworks import ONNX
from tinygrad_norm.conformance.kinds import NORM_KINDS
from tinygrad_norm.conformance.norm import find_norm


@pytest.mark.parametrize("operator", ONNX.operators)
def test_every_operator_has_the_values_of_its_kind(operator):
    norm = find_norm(ONNX(), operator, None, 1e-5)
    assert norm.kind.name == ONNX.operators[operator][0]
    outcome = trials.run_trial(trials.trials()["value, randn"], "", norm)
    assert (outcome.verdict, outcome.words) == (trials.OK, "")


def test_what_its_statistics_in_float32_do_is_found(monkeypatch):
    every = trials.trials()
    names = ("value, 2000 + randn", "third derivative, float64")
    monkeypatch.setattr(measurement, "trials", lambda: {name: every[name] for name in names})
    found = measure("GroupNormalization", "onnx")
    assert [outcome.verdict for outcome in found.outcomes] == [trials.DEVIATES, trials.INAPPLICABLE]
    assert found.outcomes[1].words == "onnxruntime has no gradients"


def test_other_names_and_kinds_are_refused():
    with pytest.raises(ValueError, match=r"'LayerNormalisation' is no norm of ONNX; did you mean LayerNormalization"):
        measure("LayerNormalisation", "onnx")
    with pytest.raises(ValueError, match=r"'Softmax' is no norm of ONNX \(they are LayerNormalization, "):
        measure("Softmax", "onnx")
    with pytest.raises(ValueError, match="LayerNormalization is a layer norm, and no batch norm in training"):
        measure("LayerNormalization", "onnx", "batch")


def test_a_session_has_the_threads_that_are_asked_for(monkeypatch):
    framework = ONNX()
    norm = find_norm(framework, "LayerNormalization", NORM_KINDS["layer"], 1e-5)
    made, session = [], onnxruntime.InferenceSession

    def make(model, options, **more):
        made.append(options.intra_op_num_threads)
        return session(model, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    with framework.threads(1):
        trials.run_trial(trials.trials()["value, randn"], "", norm)
    trials.run_trial(trials.trials()["value, randn"], "", norm)
    assert made == [1, 0]
