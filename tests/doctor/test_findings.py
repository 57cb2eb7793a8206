from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import nn, optim
from tinygrad_norm.doctor.diagnosis import diagnose
from tinygrad_norm.doctor.findings import MODEL, Thresholds


def found(model, batches, check, optimizer=None, **thresholds):
    """The findings of one kind: (path, severity)."""
    batches = [np.asarray(batch, np.float32) for batch in batches]
    findings = diagnose(model, batches, optimizer, **thresholds).findings
    return [(finding.path, finding.severity) for finding in findings if finding.check == check]


def seen(model, batches, check):
    """What was seen, and what to do about it."""
    batches = [np.asarray(batch, np.float32) for batch in batches]
    (finding,) = [finding for finding in diagnose(model, batches).findings if finding.check == check]
    return finding.seen, finding.advice


@pytest.fixture
def x(rng):
    return rng.normal(size=(200, 20))


@pytest.fixture
def images(rng):
    return rng.normal(size=(24, 3, 8, 8))


def healthy(x):
    """A net whose statistics are those of the data."""
    model = nn.Sequential(nn.Linear(20, 20, bias=False), nn.BatchNorm1D(20), nn.ReLU(), nn.Linear(20, 3))
    nn.recalibrate(model, [x.astype(np.float32)])
    return model


def healthy_images(images):
    model = nn.Sequential(
        nn.Conv2D(3, 8, 3, bias=False), nn.BatchNorm2D(8), nn.ReLU(), nn.Conv2D(8, 8, 3), nn.GroupNorm(2, 8)
    )
    nn.recalibrate(model, [images.astype(np.float32)])
    return model


def test_healthy_nets_have_no_findings(x, images):
    for model, data in ((healthy(x), x), (healthy_images(images), images)):
        assert diagnose(model, [data.astype(np.float32)], optim.SGD(model.parameters(), lr=0.1)).findings == []


@pytest.mark.parametrize(
    ("channels", "by", "severity"),
    [(1, 0.5, "note"), (3, 0.5, "warning"), (3, 1.5, "error"), (1, 1.5, "note")],
)
def test_drift_of_the_running_mean(channels, by, severity, x):
    model = healthy(x)
    assert found(model, [x], "drift") == []
    model[1].running_mean.data[:channels] += by * np.sqrt(model[1].running_var.numpy()[:channels])
    assert found(model, [x], "drift") == [("1", severity)]


@pytest.mark.parametrize("statistic", ["running_mean", "running_var"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_running_statistics_that_are_not_finite(statistic, value, x):
    model = healthy(x)
    getattr(model[1], statistic).data[3] = value
    assert found(model, [x], "broken statistics") == [("1", "error")]
    what, advice = seen(model, [x], "broken statistics")
    assert what == f"{statistic} is NaN or infinite in 1 channel"
    assert "not finite" in advice
    assert found(model, [x], "drift") == []
    assert not [path for path, _ in found(model, [x], "gap") if path != MODEL]


def test_outputs_that_are_not_finite_differ(x):
    model = healthy(x)
    model[1].running_mean.data[:] = np.nan
    assert found(model, [x], "gap") == [(MODEL, "error")]
    assert "100.0% of the predictions differ" in seen(model, [x], "gap")[0]
    model[3].weight.data[:] = np.inf
    assert "100.0% of the predictions differ" in seen(model, [x], "gap")[0]
    assert "by inf of their spread" in seen(nn.Sequential(model, nn.Linear(3, 1)), [x], "gap")[0]


@pytest.mark.parametrize(("factor", "severity"), [(1.3, "warning"), (1 / 1.3, "warning"), (2.5, "error")])
def test_drift_of_the_running_variance(factor, severity, images):
    model = healthy_images(images)
    model[1].running_var.data *= factor**2
    assert found(model, [images], "drift") == [("1", severity)]
    assert seen(model, [images], "drift")[0].endswith(
        "off in 8 of 8 channels: the mean by up to 0.00 standard deviations, "
        f"the scale by up to a factor of {max(factor, 1 / factor):.2f}"
    )


def test_drift_has_the_advice_that_fits_its_cause(x):
    model = healthy(x)
    model[1].reset_running_stats()
    what, advice = seen(model, [x * 3], "drift")
    assert "(0 batches)" in what
    assert "they have never moved" in advice
    model[1].num_batches_tracked.data += 1234
    what, advice = seen(model, [x * 3], "drift")
    assert "(1,234 batches)" in what
    assert "a larger momentum follows faster" in advice
    model[1].frozen = True
    assert found(model, [x * 3], "drift") == [("1", "note")]  # it may be meant so
    assert "Thaw it" in seen(model, [x * 3], "drift")[1]


def test_a_gap_that_comes_from_drift(x):
    model = healthy(x)
    model[1].running_mean.data += np.sqrt(model[1].running_var.numpy())
    assert ("1", "warning") in found(model, [x], "gap")
    model[1].running_mean.data += np.sqrt(model[1].running_var.numpy())
    assert ("1", "error") in found(model, [x], "gap")
    (finding,) = [f for f in diagnose(model, [x.astype(np.float32)]).findings if f.check == "gap" and f.path == "1"]
    assert finding.advice == "Cure the drift of its running statistics."


def test_a_gap_that_comes_from_small_batches(x):
    model = healthy(x)
    assert not [path for path, _ in found(model, x.reshape(10, 20, 20), "gap") if path == "1"]
    batches = list(x.reshape(50, 4, 20).astype(np.float32))
    (finding,) = [f for f in diagnose(model, batches).findings if f.check == "gap" and f.path == "1"]
    assert finding.severity == "warning"
    assert finding.advice.startswith("Use larger batches")


def test_a_gap_that_comes_from_images_too_different(images):
    model = nn.Sequential(nn.InstanceNorm2D(3, track_running_stats=True))
    different = images * np.geomspace(0.1, 10, 24)[:, None, None, None]
    for data, expected in ((images, []), (different, [("0", "warning")])):
        nn.recalibrate(model, [data.astype(np.float32)])
        assert [finding for finding in found(model, [data], "gap") if finding[0] == "0"] == expected
    findings = diagnose(model, [different.astype(np.float32)]).findings
    assert "track_running_stats=False" in findings[-1].advice


@pytest.mark.parametrize(("by", "severity"), [(0.2, "warning"), (3, "error")])
def test_predictions_that_change(by, severity, x):
    model = healthy(x)
    assert found(model, [x], "gap") == []
    model[1].running_mean.data[:3] += by
    (finding,) = [f for f in diagnose(model, [x.astype(np.float32)]).findings if f.path == MODEL]
    assert (finding.check, finding.severity) == ("gap", severity)
    assert "% of the predictions differ between training and inference" in finding.seen


def test_an_output_without_classes_is_judged_by_its_size(x):
    model = nn.Sequential(nn.BatchNorm1D(20), nn.Linear(20, 1))
    nn.recalibrate(model, [x.astype(np.float32)])
    assert found(model, [x], "gap") == []
    assert (MODEL, "error") in found(model, [x * 9], "gap")


@pytest.mark.parametrize(("dead", "severity"), [(1, "note"), (3, "warning"), (10, "error")])
def test_dead_scales(dead, severity, x):
    model = healthy(x)
    model[1].weight.data[:dead] = [(-1) ** i * 9e-4 for i in range(dead)]
    model[1].weight.data[dead:] = -0.002
    assert found(model, [x], "dead scales") == [("1", severity)]
    assert seen(model, [x], "dead scales")[0] == f"{dead} of 20 scales are dead: |weight| < 0.001"
    assert found(model, [x], "dead scales", dead=0.0001) == []


def test_a_norm_without_scales_has_no_dead_ones(x):
    assert found(nn.LayerNorm(20, elementwise_affine=False), [x], "dead scales") == []


@pytest.mark.parametrize(("still", "severity"), [(1, "note"), (3, "warning"), (10, "error")])
def test_vanishing_variance_of_channels(still, severity, x):
    x[:, :still] *= 5e-4
    assert found(nn.BatchNorm1D(20), [x], "vanishing variance") == [("BatchNorm1D", severity)]
    assert seen(nn.BatchNorm1D(20), [x], "vanishing variance")[0] == (
        f"{still} of 20 channels have a variance far under eps = 1e-05"
    )
    assert found(nn.BatchNorm1D(20), [x], "vanishing variance", vanishing=0.01) == []
    assert found(nn.BatchNorm1D(20, eps=1e-7), [x], "vanishing variance") == []


def test_vanishing_variance_of_rows_groups_and_pixels(images):
    still = 1 + 1e-4 * images
    for layer in (nn.LayerNorm(8), nn.GroupNorm(1, 3), nn.LayerNorm2D(3, eps=1e-5), nn.InstanceNorm2D(3)):
        name = type(layer).__name__
        assert found(layer, [images], "vanishing variance") == []
        assert found(layer, [still], "vanishing variance") == [(name, "error")]
    assert found(nn.RMSNorm(8, eps=1e-5), [still], "vanishing variance") == []
    what, _ = seen(nn.RMSNorm(8, eps=1e-5), [1e-4 * images], "vanishing variance")
    assert what == "576 of 576 rows have a mean square far under eps = 1e-05"
    assert seen(nn.RMSNorm(8), [1e-6 * images], "vanishing variance")[0].endswith("eps = 1.19209e-07")


@pytest.mark.parametrize(("batch", "expected"), [(20, []), (10, [("1", "warning")]), (2, [("1", "error")])])
def test_few_values_in_a_batch(batch, expected, x):
    assert found(healthy(x), x.reshape(-1, batch, 20), "few values") == expected


def test_few_values_count_positions_too(images):
    model = healthy_images(images)
    assert found(model, images.reshape(12, 2, 3, 8, 8), "few values") == []
    model[1].frozen = True  # it uses no statistics of the batch
    assert found(model, images.reshape(12, 2, 3, 8, 8)[..., :5, :5], "few values", values=100) == [("4", "error")]


@pytest.mark.parametrize(
    ("layer", "word", "severity"),
    [
        (nn.GroupNorm(4, 20), "fewer groups", "note"),
        (nn.GroupNorm(10, 20), "fewer groups", "error"),
        (nn.GroupNorm(1, 20), None, None),
        (nn.LayerNorm(20), None, None),
        (nn.RMSNorm(20), None, None),
    ],
    ids=str,
)
def test_few_values_of_a_row_or_group(layer, word, severity, x):
    assert found(layer, [x], "few values") == ([(type(layer).__name__, severity)] if severity else [])
    assert severity is None or word in seen(layer, [x], "few values")[1]


def test_few_values_of_a_pixel_or_image(images):
    for layer, word in ((nn.LayerNorm2D(3), "more channels"), (nn.InstanceNorm2D(3), "where the images are larger")):
        small = images[:, :, :3, :1]
        assert found(layer, [small], "few values") == [(type(layer).__name__, "error")]
        assert word in seen(layer, [small], "few values")[1]
    assert found(nn.InstanceNorm2D(3), [images], "few values") == []


@pytest.mark.parametrize(
    ("rest", "expected"), [(1, [("1", "error")]), (5, [("1", "warning")]), (20, []), (64, [])], ids=str
)
def test_a_short_last_batch(rest, expected, x):
    model = healthy(x)
    assert found(model, [x[:64], x[64:128], x[128 : 128 + rest]], "short batch") == expected
    model[1].frozen = True
    assert found(model, [x[:64], x[64:128], x[128 : 128 + rest]], "short batch") == []


def test_a_last_image_has_enough_pixels(images):
    model = healthy_images(images)
    assert found(model, [images[:-1], images[-1:]], "short batch") == []
    tiny = images[..., :3, :3]
    shallow = nn.Sequential(nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8))
    assert found(shallow, [tiny[:-1], tiny[-1:]], "short batch") == [("1", "error")]
    assert found(nn.GroupNorm(1, 3), [tiny[:-1], tiny[-1:]], "short batch") == []


def test_a_useless_bias(images, x):
    for model, data in ((healthy(x), x), (healthy_images(images), images)):
        assert found(model, [data], "useless bias") == []
    model = nn.Sequential({"conv": nn.Conv2D(3, 8, 3), "norm": nn.BatchNorm2D(8)})
    assert found(model, [images], "useless bias") == [("norm", "note")]
    assert seen(model, [images], "useless bias") == (
        "conv.bias goes into it alone, and it takes it out again with the mean",
        "Make the layer of conv.bias with bias=False.",
    )


def test_a_useless_bias_is_found_though_the_first_batch_is_of_one(x):
    model = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1D(8))
    assert found(model, [x[:1], x], "useless bias") == [("1", "note")]


def test_weight_decay_on_norms(x):
    model = healthy(x)
    everything, spared = model.parameters(), optim.decay_groups(model, 0.05)
    (decay,) = [
        finding
        for finding in diagnose(model, [x.astype(np.float32)], optim.AdamW(everything, weight_decay=0.05)).findings
        if finding.check == "weight decay"
    ]
    assert (decay.path, decay.severity) == ("1", "note")
    assert decay.seen == "weight decay 0.05 pulls its weight and bias to 0"
    assert found(model, [x], "weight decay", optim.AdamW(spared)) == []
    assert found(model, [x], "weight decay", optim.SGD(model.parameters(), lr=0.1)) == []
    scale = optim.SGD([model[1].weight], lr=0.1, weight_decay=1e-4)
    assert found(model, [x], "weight decay", optim.Lookahead(scale)) == [("1", "note")]


def test_a_norm_that_is_never_called(x):
    model = healthy(x)
    model[2].spare = nn.LayerNorm(3)
    assert found(model, [x], "unused") == [("2.spare", "note")]


def test_an_optimizer_that_is_none_or_another_models_is_an_error(x):
    with pytest.raises(TypeError, match="optimizer is an Optimizer, got float"):
        diagnose(healthy(x), [x], 0.1)
    with pytest.raises(ValueError, match="holds none of the model's parameters"):
        diagnose(healthy(x), [x], optim.SGD(healthy(x).parameters(), lr=0.1))


def test_thresholds_are_numbers_from_0_on():
    with pytest.raises(ValueError, match=r"Thresholds: drift is a number of at least 0, or infinite, got -1"):
        Thresholds(drift=-1)
    with pytest.raises(ValueError, match="got nan"):
        Thresholds(serious=np.nan)
    with pytest.raises(TypeError, match=r"Thresholds: gap is a number of at least 0, or infinite, got 'much' \(str\)"):
        Thresholds(gap="much")


@pytest.mark.parametrize(
    ("figure", "grade"), [(0.39, None), (0.4, "warning"), (1.59, "warning"), (1.6, "error"), (np.nan, "error")]
)
def test_grades(figure, grade):
    limits = Thresholds()
    assert limits.grade(figure, limits.gap) == grade


ANEW = "call its reset_running_stats(), and the model in training, with momentum=None, on each batch"


@pytest.mark.parametrize(
    ("norm", "statistic", "place"),
    [
        (nn.PowerNorm(20), "running_square", 3),
        (nn.PowerNorm(20), "nu", 3),
        (nn.IterNorm1D(20, 4), "running_matrix", (2, 1, 4)),
        (nn.L1Norm(20), "running_var", 3),
    ],
    ids=str,
)
def test_other_running_statistics_that_are_not_finite(norm, statistic, place, x):
    getattr(norm, statistic).data[place] = np.nan
    assert found(norm, [x], "broken statistics") == [(type(norm).__name__, "error")]
    what, advice = seen(norm, [x], "broken statistics")
    assert what == f"{statistic} is NaN or infinite in 1 channel"
    assert advice.endswith(f"then {ANEW}.")
    assert found(norm, [x], "drift") == []


@pytest.mark.parametrize("norm", [nn.PowerNorm(20), nn.L1Norm(20), nn.EvoNormB0(20), nn.BatchRenorm2D(20)], ids=str)
def test_drift_of_norms_of_the_literature(norm, x):
    images = x.reshape(50, 20, 2, 2)
    assert found(norm, [3 * images], "drift") == [(type(norm).__name__, "error")]
    cure = "call nn.recalibrate(model, loader)" if norm.keeps_variance else ANEW
    assert seen(norm, [3 * images], "drift")[1] == f"Train the model, or {cure}: they have never moved."
    norm.momentum = None
    norm((3 * images).astype(np.float32))
    assert found(norm, [3 * images], "drift") == []


def test_a_gap_of_a_norm_whose_drift_is_not_known(x):
    findings = diagnose(nn.IterNorm1D(20), [3 * x.astype(np.float32)]).findings
    (gap,) = [finding for finding in findings if finding.check == "gap" and finding.path != MODEL]
    assert gap.advice.startswith(f"C{ANEW[1:]}. If that does not close it: Use larger batches")


def test_scales_that_are_meant_to_be_small_are_not_dead(images):
    few = images[:, :3]
    assert found(nn.GlobalResponseNorm(3), [few], "dead scales") == []
    thin = nn.FilterResponseNorm2D(3)
    thin.weight.data[0] = 0
    assert found(thin, [few], "dead scales") == [("FilterResponseNorm2D", "warning")]


def test_a_last_ghost_that_is_short(x):
    model = nn.Sequential(nn.Linear(20, 8), nn.GhostBatchNorm1D(8, ghost_size=32))
    for images, expected in ((96, []), (97, [("1", "error")]), (101, [("1", "warning")]), (116, [])):
        assert found(model, [x[:images]], "short batch") == expected
    assert seen(model, [x[:97]], "short batch") == (
        "the smallest ghost gives one value per channel (the largest 32), which training refuses",
        "Choose a batch size that ghost_size divides, and DataLoader(drop_last=True).",
    )
    small = nn.GhostBatchNorm1D(20, ghost_size=8)
    assert found(small, [x], "few values") == [("GhostBatchNorm1D", "warning")]
    assert seen(small, [x], "few values")[1].startswith("Use larger ghosts")


def test_power_norm_takes_one_value(x):
    assert found(nn.PowerNorm(20), [x[:64], x[64:65]], "short batch") == [("PowerNorm", "warning")]


def test_few_values_of_other_images(images):
    assert found(nn.FilterResponseNorm2D(3, learned_eps=True), [images[:, :, :1, :1]], "few values") == []
    for layer in (nn.FilterResponseNorm2D(3), nn.EvoNormS0(3, 3)):
        assert found(layer, [images[:, :, :3, :1]], "few values") == [(type(layer).__name__, "error")]
        assert found(layer, [images], "few values") == []
