"""Running statistics of normalization layers: the two switches, momentum, freezing, and what spoils them."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.nn.norm_layers import close, stirred
from tinygrad_norm import Tensor, nn
from tinygrad_norm.nn.normalization import RunningNorm

KINDS = {
    "BatchNorm1D": (lambda **more: nn.BatchNorm1D(3, **more), (5, 3, 2)),
    "BatchRenorm1D": (lambda **more: nn.BatchRenorm1D(3, r_max=2.0, d_max=1.0, **more), (5, 3, 2)),
    "ConditionalBatchNorm1D": (lambda **more: nn.ConditionalBatchNorm1D(3, 2, **more), (5, 3, 2), np.arange(5) % 2),
    "EvoNormB0": (lambda **more: nn.EvoNormB0(3, **more), (5, 3, 2, 1)),
    "GhostBatchNorm1D": (lambda **more: nn.GhostBatchNorm1D(3, ghost_size=2, **more), (5, 3, 2)),
    "InstanceNorm1D": (lambda **more: nn.InstanceNorm1D(3, track_running_stats=True, **more), (5, 3, 2)),
    "IterNorm1D": (lambda **more: nn.IterNorm1D(3, **more), (5, 3, 2)),
    "L1Norm": (lambda **more: nn.L1Norm(3, **more), (5, 3, 2)),
    "MaskedBatchNorm1D": (lambda **more: nn.MaskedBatchNorm1D(3, **more), (5, 3, 2), np.arange(10).reshape(5, 2) > 2),
    "MaskedInstanceNorm1D": (
        lambda **more: nn.MaskedInstanceNorm1D(3, track_running_stats=True, **more),
        (5, 3, 4),
        np.arange(20).reshape(5, 4) % 4 > 0,
    ),
    "PowerNorm": (lambda **more: nn.PowerNorm(3, warmup=100, **more), (5, 3, 2)),
    "SwitchableNorm2D": (lambda **more: nn.SwitchableNorm2D(3, **more), (5, 3, 2, 1)),
}
"""A norm of each way to keep running statistics, with the shape of an input, and what else it is called with."""


@pytest.fixture(params=KINDS)
def running(request, rng):
    """The name of a norm, the norm after two batches, and a function that draws what it is called with."""
    build, shape, *others = KINDS[request.param]
    norm = stirred(build(dtype="float64"), rng)

    def draw():
        return [rng.normal(1, 2, shape), *others]

    for _ in range(2):
        norm(*draw())
    return request.param, norm, draw


def test_no_kind_is_forgotten():
    """Of each class that has statistics or calls of its own, a layer is in the table."""
    tried = {kind for build, *_ in KINDS.values() for kind in type(build()).__mro__}
    told = {"compute", "normalize", "begins_with", "first_statistic", "reads_running_statistics", "unread"}
    layers = [getattr(nn, name) for name in nn.__all__]
    kinds = {
        each for kind in layers if isinstance(kind, type) and issubclass(kind, RunningNorm) for each in kind.__mro__
    }
    assert {each.__name__ for each in kinds - tried if told & vars(each).keys()} == set()


def test_cumulative_momentum_is_the_plain_average(rng):
    for norm, reduce in (
        (nn.BatchNorm1D(3, momentum=None, dtype="float64"), lambda x: (x.mean((0, 2)), x.var((0, 2), ddof=1))),
        (
            nn.InstanceNorm1D(3, momentum=None, track_running_stats=True, dtype="float64"),
            lambda x: (x.mean((0, 2)), x.var(2, ddof=1).mean(0)),
        ),
    ):
        batches = rng.normal(size=(4, 5, 3, 2))
        for x in batches:
            norm(x)
        mean, var = (np.mean(values, axis=0) for values in zip(*map(reduce, batches), strict=True))
        close(norm.running_mean, mean)
        close(norm.running_var, var)
        assert norm.num_batches_tracked.item() == 4


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("update", [True, False])
@pytest.mark.parametrize("use", [True, False])
def test_the_two_switches_are_independent(use, update, training, rng):
    norm = stirred(nn.BatchNorm1D(3, momentum=0.5, dtype="float64"), rng).train(training)
    norm.running_mean.raw, norm.running_var.raw = np.full(3, 2.0), np.full(3, 4.0)
    norm.use_batch_statistics, norm.update_running_statistics = use, update
    x = rng.normal(size=(5, 3))
    mean, var = (x.mean(axis=0), x.var(axis=0)) if use else (2.0, 4.0)
    given = Tensor(x, requires_grad=True)
    y = norm(given)
    close(y, (x - mean) / np.sqrt(var + 1e-5) * norm.weight.raw + norm.bias.raw)
    assert type(y.creator).__name__ == ("BatchNorm" if use else "InferenceNorm")
    close(norm.running_mean, (2 + x.mean(axis=0)) / 2 if update else np.full(3, 2.0))
    close(norm.running_var, (4 + x.var(axis=0, ddof=1)) / 2 if update else np.full(3, 4.0))
    assert norm.num_batches_tracked.item() == update


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("update", [True, False])
@pytest.mark.parametrize("use", [True, False])
def test_every_norm_with_running_statistics_has_the_two_switches(use, update, training, running):
    _, norm, draw = running
    given, before = draw(), norm.state_dict()
    trained, inferring = copy.deepcopy(norm), copy.deepcopy(norm).eval()
    expected = [trained(*given).raw, inferring(*given).raw]
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    norm.train(training)
    norm.use_batch_statistics, norm.update_running_statistics = use, update
    close(norm(*given), expected[0] if use else expected[1])
    after = (trained if update else inferring).state_dict()
    assert norm.num_batches_tracked.item() == before["num_batches_tracked"] + update
    for key, array in norm.state_dict().items():
        close(array, after[key])
    assert update == any((array != before[key]).any() for key, array in norm.state_dict().items())


def test_frozen_is_inference_for_every_norm(running):
    _, norm, draw = running
    given, before = draw(), norm.state_dict()
    expected = copy.deepcopy(norm).eval()(*given).raw
    norm.frozen = norm.use_batch_statistics = norm.update_running_statistics = True
    np.testing.assert_array_equal(norm.train()(*given).raw, expected)
    for key, array in norm.state_dict().items():
        np.testing.assert_array_equal(array, before[key])
    assert copy.deepcopy(norm).frozen
    assert repr(norm).endswith("frozen=True)")


@pytest.mark.parametrize("name", KINDS)
def test_without_momentum_running_statistics_are_plain_averages(name, rng):
    build, shape, *others = KINDS[name]
    cumulative, last = build(dtype="float64", momentum=None), build(dtype="float64", momentum=1.0)
    seen = []
    for _ in range(3):
        x = rng.normal(1, 2, shape)
        for norm in (cumulative, last):
            norm(x, *others)
        seen.append([getattr(last, each).raw for each in last.begins_with if each != "nu"])
    averages = [np.mean(values, axis=0) for values in zip(*seen, strict=True)]
    if name == "GhostBatchNorm1D":  # of which a batch holds several, the last of one image
        averages = [x.raw for x in (cumulative.running_mean, cumulative.running_var)]
    found = [getattr(cumulative, each) for each in last.begins_with if each != "nu"]
    for one, other in zip(found, averages, strict=True):
        close(one, other)
    assert cumulative.num_batches_tracked.item() == 3


def test_every_norm_begins_anew_at_a_reset(running):
    name, norm, draw = running
    fresh = KINDS[name][0]().state_dict()
    weights = norm.state_dict()
    norm.reset_running_stats()
    statistics = {*norm.begins_with, "num_batches_tracked"}
    for key, array in norm.state_dict().items():
        np.testing.assert_array_equal(array, fresh[key] if key in statistics else weights[key])
    assert {getattr(norm, each).dtype.name for each in norm.begins_with} == {"float64"}
    norm(*draw())
    norm.reset_parameters()
    for key, array in norm.state_dict().items():
        np.testing.assert_array_equal(array, fresh[key])


def test_a_state_without_a_count_is_one_of_no_batches(running):
    name, norm, draw = running
    state, given = norm.state_dict(), draw()
    assert {*norm.begins_with, "num_batches_tracked"} <= state.keys()
    del state["num_batches_tracked"]
    loaded = KINDS[name][0](dtype="float64")
    loaded(*given)
    loaded.load_state_dict(state)
    assert loaded.num_batches_tracked.item() == 0
    np.testing.assert_array_equal(loaded.eval()(*given).raw, norm.eval()(*given).raw)


@pytest.mark.parametrize("build", [nn.BatchNorm1D, nn.InstanceNorm1D])
def test_unless_set_the_switches_follow_train_and_eval(build, rng):
    norm, x = build(3, track_running_stats=True), rng.normal(size=(5, 3, 2)).astype(np.float32)
    norm(x)
    assert norm.num_batches_tracked.item() == 1
    assert type(norm.num_batches_tracked.raw) is np.ndarray  # which a 0-dimensional array plus 1 is not
    moved = norm.running_mean.numpy().copy()
    assert moved.any()
    y = norm.eval()(x)
    np.testing.assert_array_equal(norm.running_mean.numpy(), moved)
    scale = np.sqrt(norm.running_var.numpy() + 1e-5)[:, None]
    close(y, (x - moved[:, None]) / scale, 1e-5)


def test_frozen_survives_train(rng):
    norm, x = nn.BatchNorm1D(3), rng.normal(size=(5, 3)).astype(np.float32)
    expected = norm.eval()(x).numpy().copy()
    norm.frozen = True
    for switches in (None, True):
        norm.use_batch_statistics = norm.update_running_statistics = switches
        np.testing.assert_array_equal(norm.train()(x).numpy(), expected)
    assert norm.num_batches_tracked.item() == 0
    assert copy.deepcopy(norm).frozen
    norm(np.ones((1, 3), np.float32))  # one value per channel is enough where none is looked at
    norm.frozen = False
    norm(x)
    assert norm.num_batches_tracked.item() == 1


def test_without_running_statistics_the_batch_always_serves(rng):
    norm, x = nn.BatchNorm1D(3, track_running_stats=False), rng.normal(size=(5, 3)).astype(np.float32)
    y = norm(x).numpy()
    for norm.use_batch_statistics in (None, False):
        np.testing.assert_array_equal(norm.eval()(x).numpy(), y)
    norm.frozen = True
    np.testing.assert_array_equal(norm(x).numpy(), y)
    assert norm.running_mean is norm.running_var is norm.num_batches_tracked is None
    norm.reset_running_stats()
    assert norm.running_mean is None


def test_reset_running_stats(rng):
    norm = nn.BatchNorm1D(3)
    norm(rng.normal(size=(5, 3)).astype(np.float32))
    norm.reset_running_stats()
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.running_var.tolist() == [1, 1, 1]
    assert norm.num_batches_tracked.item() == 0
    assert norm.running_mean.dtype == np.float32


def test_a_graph_of_inference_outlives_the_statistics_it_used(rng):
    norm = stirred(nn.BatchNorm1D(3, dtype="float64"), rng).eval()
    x, dy = Tensor(rng.normal(size=(5, 3)), requires_grad=True), rng.normal(size=(5, 3))
    y = norm(x)
    norm.train()(rng.normal(size=(5, 3)) * 10)
    y.backward(dy)
    close(x.grad, dy * norm.weight.raw / np.sqrt(1 + 1e-5))


def test_one_image_of_an_unbatched_instance_norm_is_a_batch_of_one(rng):
    for build, shape in (
        (nn.InstanceNorm1D, (3, 5)),
        (nn.InstanceNorm2D, (3, 2, 4)),
        (nn.InstanceNorm3D, (3, 2, 1, 4)),
    ):
        one, batch = (build(3, affine=True, track_running_stats=True, dtype="float64") for _ in range(2))
        x = rng.normal(size=shape)
        for mode in (True, False):
            y = one.train(mode)(x)
            assert y.shape == shape
            close(y, batch.train(mode)(x[None]).numpy()[0])
        close(one.running_var, batch.running_var)


@pytest.mark.parametrize("make", [nn.BatchNorm1D, lambda c: nn.InstanceNorm1D(c, track_running_stats=True)])
@pytest.mark.parametrize(("name", "value"), [("running_var", np.inf), ("running_mean", -np.inf)])
def test_infinite_running_statistics_are_an_error_that_names_the_layer(make, name, value):
    model = nn.Sequential({"fc": nn.Identity(), "norm": make(3)})
    x = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    getattr(model.norm, name).data[1] = value
    model(x)  # training goes by the batch
    model.eval()
    with pytest.raises(
        ValueError, match=rf"{type(model.norm).__name__} in norm: {name} is infinite in 1 of 3 channels"
    ):
        model(x)
    model.norm.training = model.norm.frozen = True
    with pytest.raises(ValueError, match=rf"in norm: {name} is infinite in 1 of 3 channels, .* too large for float32"):
        model(x)
    getattr(model.norm, name).data[1] = np.nan  # which is seen in the output
    assert np.isnan(model(x).numpy()[:, 1]).all()


def test_an_infinite_statistic_of_any_norm_is_refused_where_inference_reads_it(running):
    _, norm, draw = running
    norm.eval()
    for name in norm.begins_with:
        statistic = getattr(norm, name)
        before = statistic.raw.copy()
        statistic.data.flat[1] = np.inf
        if name in norm.unread:
            assert np.isfinite(norm(*draw()).raw).all()
        else:
            what = "channels" if before.ndim == 1 else "numbers"
            told = (
                rf"^{type(norm).__name__}: {name} is infinite in 1 of {before.size} {what}, .* for float64: scale them"
            )
            with pytest.raises(ValueError, match=told):
                norm(*draw())
        statistic.data[...] = before
    assert np.isfinite(norm(*draw()).raw).all()


@pytest.mark.parametrize(
    ("norm", "cure"),
    [
        (nn.BatchRenorm1D(3), r"nn\.recalibrate\(model, loader\)"),
        (nn.PowerNorm(3, warmup=1), r"reset_running_stats\(\) and train on"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_training_that_reads_infinite_statistics_is_refused_too(norm, cure, rng):
    x = rng.normal(size=(5, 3)).astype(np.float32)
    norm(x)
    getattr(norm, [*norm.begins_with][-1 - isinstance(norm, nn.PowerNorm)]).data[1] = np.inf
    with pytest.raises(ValueError, match=f"is infinite in 1 of 3 channels, .* then {cure}$"):
        norm(x)
    norm.reset_running_stats()
    assert np.isfinite(norm(x).raw).all()


def test_a_running_variance_that_overflows_is_noticed_at_the_next_inference():
    layer, x = nn.BatchNorm1D(2), np.zeros((4, 2), np.float32)
    x[:, 1] = [3e20, -3e20, 3e20, -3e20]
    layer(x)
    with pytest.raises(ValueError, match="BatchNorm1D: running_var is infinite in 1 of 2 channels"):
        layer.eval()(x)


EMPTY = [
    (nn.BatchNorm1D(4), (0, 4)),
    (nn.BatchNorm1D(4, momentum=None), (2, 4, 0)),
    (nn.BatchNorm2D(4, activation="relu"), (0, 4, 2, 3)),
    (nn.BatchNorm3D(4, fused=False), (0, 4, 2, 3, 1)),
    (nn.InstanceNorm1D(4, affine=True, track_running_stats=True), (0, 4, 3)),
    (nn.IterNorm2D(4, 2), (0, 4, 3, 2)),
    (nn.PowerNorm(4, momentum=None), (3, 4, 0)),
    (nn.InstanceNorm2D(4), (0, 4, 3, 2)),
    (nn.InstanceNorm3D(4), (0, 4, 3, 1, 2)),
    (nn.LayerNorm(4), (0, 4)),
    (nn.LayerNorm((4, 2)), (3, 0, 4, 2)),
    (nn.LayerNorm2D(4), (0, 4, 3, 2)),
    (nn.GroupNorm(2, 4), (0, 4)),
    (nn.GroupNorm(2, 4, fused=False), (0, 4, 3, 2)),
    (nn.RMSNorm(4), (0, 4)),
    (nn.RMSNorm2D(4), (0, 4, 3, 2)),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("norm", "shape"), EMPTY)
def test_an_empty_batch_is_a_batch_that_counts_and_moves_nothing(norm, shape, training):
    norm.train(training)
    before = norm.state_dict()
    x = Tensor(np.ones(shape, np.float32), requires_grad=True)
    y = norm(x)
    assert (y.shape, y.dtype) == (shape, np.float32)
    y.sum().backward()
    assert x.grad.shape == shape
    for parameter in norm.parameters():
        assert not parameter.grad.numpy().any()
        assert parameter.grad.shape == parameter.shape
    after = norm.state_dict()
    if "num_batches_tracked" in before:
        assert after.pop("num_batches_tracked") == before.pop("num_batches_tracked") + (
            training and norm.momentum is not None  # in a plain average it is none
        )
    for key, array in before.items():
        np.testing.assert_array_equal(after[key], array)
