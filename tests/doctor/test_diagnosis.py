from __future__ import annotations

import json

import numpy as np
import pytest

from tinygrad_norm import nn, optim
from tinygrad_norm.data import DataLoader
from tinygrad_norm.doctor import diagnose
from tinygrad_norm.doctor.findings import CHECKS, Finding

FINDINGS = """\
Found 2 errors, 2 warnings, 4 notes: 3 norm layers, 129 examples in 3 batches.

Layer                Severity  What was seen, and what to do
-------------------  --------  -------------------------------------------------------------------------------
norm1, norm2         error     the smallest batch gives one value per channel (the largest 64), which training
                               refuses
                               -> Leave it out with DataLoader(drop_last=True), or choose a batch size that
                               leaves a larger rest.
norm1                warning   the running statistics (3 batches) are off in 2 of 16 channels: the mean by up
                               to 0.50 standard deviations, the scale by up to a factor of 1.00
                               -> Call nn.recalibrate(model, loader); while training goes on, a larger
                               momentum follows faster.
norm2                warning   3 of 16 scales are dead: |weight| < 0.001
                               -> Prune what they scale, or set them to 1 again; zeroed on purpose before
                               training, they will grow.
norm1                note      fc1.bias goes into it alone, and it takes it out again with the mean
                               -> Make the layer of fc1.bias with bias=False.
norm1, norm2, norm3  note      weight decay 0.01 pulls its weight and bias to 0
                               -> Spare the norms: give the optimizer optim.decay_groups(model, weight_decay).

Checked: running statistics that are not finite, drift of the running statistics, gap between training and
inference, dead scales, variances far under eps, values per statistic, short batches, useless biases, weight
decay on norms.
"""

WELL = """\
All is well: 3 norm layers, 128 examples in 1 batch.

Checked: running statistics that are not finite, drift of the running statistics, gap between training and
inference, dead scales, variances far under eps, values per statistic, short batches, useless biases. Not
checked, for want of the optimizer: weight decay on norms.
"""


def net(bias):
    return nn.Sequential(
        {
            "fc1": nn.Linear(8, 16, bias=bias),
            "norm1": nn.BatchNorm1D(16, activation="relu"),
            "fc2": nn.Linear(16, 16, bias=False),
            "norm2": nn.BatchNorm1D(16, activation="relu"),
            "fc3": nn.Linear(16, 32),
            "norm3": nn.LayerNorm(32),
            "head": nn.Linear(32, 1),
        }
    )


@pytest.fixture
def loader(rng):
    return DataLoader((rng.normal(size=(129, 8)).astype(np.float32), np.zeros(129)), batch_size=64)


def faulty(loader):
    model = net(bias=True)
    nn.recalibrate(model, loader)
    model.norm1.running_mean.data[:2] += 0.5 * np.sqrt(model.norm1.running_var.numpy()[:2])
    model.norm2.weight.data[:3] = 0
    return model, optim.AdamW(model.parameters(), lr=1e-3)


def test_the_table_of_a_net_with_findings(loader):
    model, optimizer = faulty(loader)
    diagnosis = diagnose(model, loader, optimizer)
    assert f"{diagnosis}\n" == FINDINGS
    assert diagnosis
    assert [finding.severity for finding in diagnosis.findings] == ["error"] * 2 + ["warning"] * 2 + ["note"] * 4


def test_the_words_of_a_healthy_net(loader):
    model, data = net(bias=False), [loader.dataset[np.arange(128)]]
    nn.recalibrate(model, data)
    diagnosis = diagnose(model, data)
    assert f"{diagnosis}\n" == WELL
    assert not diagnosis
    assert diagnosis.findings == []
    assert [layer.path for layer in diagnosis.layers] == ["norm1", "norm2", "norm3"]
    assert all(check in WELL.replace("\n", " ") for check, _ in CHECKS.values())


LEFT_OUT = """\
Checked: running statistics that are not finite, drift of the running statistics, gap between training and
inference, dead scales, variances far under eps, values per statistic, short batches, useless biases. Not
checked, for want of the optimizer: weight decay on norms.
Left out at 0 (DynamicTanh), 1 (GlobalResponseNorm), in which no values share a mean or a variance: variances
far under eps, values per statistic, short batches, useless biases.
Left out at 1 (GlobalResponseNorm), whose weight begins with 0: dead scales.
Left out at 2 (IterNorm1D), whose running statistics are no mean and deviation of each channel: drift of the
running statistics.
"""


def test_what_is_left_out_is_said(rng):
    model = nn.Sequential(nn.DynamicTanh(4), nn.GlobalResponseNorm(4), nn.IterNorm1D(4), nn.LayerNorm(4))
    diagnosis = diagnose(model, [rng.normal(size=(32, 4)).astype(np.float32)])
    assert f"{diagnosis}\n".endswith(f"\n\n{LEFT_OUT}")
    assert json.loads(json.dumps(diagnosis.to_json()))["layers"][2]["left_out"].keys() == {"drift"}


def test_what_is_alike_in_many_layers_is_one_row(rng):
    model = nn.Sequential(*[nn.BatchNorm1D(4) for _ in range(6)])
    text = str(diagnose(model, [rng.normal(size=(8, 4)).astype(np.float32)]))
    assert text.count("at most 8 values per channel") == 1
    assert "\n0, 1 and 4 more  warning   at most 8 values per channel\n" in text


def test_json_is_strict_and_whole(loader):
    model, optimizer = faulty(loader)
    model.norm2.running_mean.data[0] = np.nan
    diagnosis = diagnose(model, loader, optimizer)
    content = json.loads(json.dumps(diagnosis.to_json(), allow_nan=False))
    assert content.keys() == {"findings", "layers", "batches", "examples", "output_gap", "changed"}
    assert [Finding(**finding) for finding in content["findings"]] == diagnosis.findings
    first, second, third = content["layers"]
    assert first["mean"] == diagnosis.layers[0].mean.tolist()
    assert second["mean_drift"][0] == "NaN"
    assert (third["kind"], third["values"], third["mean"]) == ("LayerNorm", 32, None)


def test_thresholds_can_be_passed(loader):
    model, optimizer = faulty(loader)
    checks = {finding.check for finding in diagnose(model, loader, optimizer, drift=0.6, dead=0).findings}
    assert checks == {"short batch", "useless bias", "weight decay"}
    with pytest.raises(TypeError, match=r"diagnose has no option 'vanish'.*did you mean vanishing\?"):
        diagnose(model, loader, vanish=1)
    with pytest.raises(ValueError, match="Thresholds: drift is a number of at least 0, or infinite, got -1"):
        diagnose(model, loader, drift=-1)


def test_every_kind_of_norm_and_image(rng):
    norms = {
        "batch": nn.BatchNorm2D(16),
        "instance": nn.InstanceNorm2D(16),
        "group": nn.GroupNorm(4, 16),
        "layer": nn.LayerNorm2D(16),
        "rms": nn.RMSNorm2D(16),
        "trailing": nn.LayerNorm((5, 5)),
    }
    layers = {"conv": nn.Conv2D(1, 16, 3, padding=1, bias=False), **norms}
    model = nn.Sequential({**layers, "flatten": nn.Flatten(), "head": nn.Linear(400, 3)})
    images = [rng.normal(size=(20, 1, 5, 5)).astype(np.float32)]
    nn.recalibrate(model, images)
    diagnosis = diagnose(model, images)
    assert [layer.path for layer in diagnosis.layers] == list(norms)
    assert not diagnosis


def test_a_diagnosis_of_nothing_is_an_error(loader):
    with pytest.raises(ValueError, match="the model has no norm layer to look at; it is made of Linear"):
        diagnose(nn.Linear(8, 3), loader)
    with pytest.raises(ValueError, match="the loader gave no batch"):
        diagnose(net(bias=True), [])
    with pytest.raises(TypeError, match="model is a Module, got DataLoader"):
        diagnose(loader, net(bias=True), optim.SGD(net(bias=True).parameters(), lr=1))
    with pytest.raises(
        ValueError, match=r"Linear: the last axis of the input is in_features=8 long, got shape \(4, 7\)"
    ):
        diagnose(net(bias=True), [np.ones((4, 7), np.float32)])
