from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, random
from tinygrad_norm.data import DataLoader, Prefetch
from tinygrad_norm.doctor.examination import examine
from tinygrad_norm.nn.module import Module


def net(**more):
    """Linear layers and two batch norms that know nothing of the data yet."""
    layers = nn.Linear(4, 6), nn.BatchNorm1D(6, **more), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 5)
    return nn.Sequential(*layers, nn.BatchNorm1D(5, **more), nn.Linear(5, 3)).astype("float64")


def cut(x, *sizes):
    return np.split(x, np.cumsum(sizes)[:-1])


@pytest.fixture
def x(rng):
    return rng.normal(size=(50, 4)) * 3 + 1


@pytest.mark.parametrize("sizes", [(50,), (20, 20, 10), (49, 1)])
def test_mean_and_variance_are_those_of_the_whole_data(sizes, x):
    model = net()
    seen = examine(model, cut(x, *sizes), 0.1)
    given = x @ model[0].weight.numpy().T + model[0].bias.numpy()
    first = seen.layers[0]
    np.testing.assert_allclose(first.mean, given.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(first.variance, given.var(axis=0, ddof=1), rtol=1e-12)
    assert (seen.batches, seen.examples) == (len(sizes), 50)
    assert (first.path, first.kind, first.unit) == ("1", "BatchNorm1D", "channel")
    assert (first.calls, first.values, first.fewest, first.units) == (len(sizes), max(sizes), min(sizes), 6)


def test_drift_is_measured_in_standard_deviations_and_as_a_factor(x):
    model = net()
    _, layer = examine(model, [x], 0.1).layers
    std = np.sqrt(layer.variance + 1e-5)
    np.testing.assert_allclose(layer.mean_drift, np.abs(layer.mean) / std, rtol=1e-12)
    np.testing.assert_allclose(layer.scale_drift, np.maximum(std, 1 / std) - 1, rtol=1e-4)  # 1 is the running one


def test_a_layer_does_not_answer_for_the_drift_of_the_one_before(x):
    model = net()
    nn.recalibrate(model, [x])
    assert max(figures.mean_drift.max() for figures in examine(model, [x], 0.1).layers) < 1e-3  # n / (n - 1)
    model[1].running_mean.data += 5
    first, second = examine(model, [x], 0.1).layers
    assert first.mean_drift.min() > 1
    assert second.mean_drift.max() < 1e-3
    assert first.gap > 1
    assert second.gap < 1e-2


def test_after_recalibration_nothing_drifts_but_for_the_noise_of_batches(x):
    model = net()
    nn.recalibrate(model, [x])
    whole = examine(model, [x], 0.1)
    assert whole.output_gap < 0.02  # n / (n - 1)
    assert whole.changed == 0
    halves = examine(model, cut(x, 25, 25), 0.1)
    assert halves.layers[0].mean_drift.max() < 1e-10
    assert halves.layers[0].gap > 5 * whole.layers[0].gap


def test_the_gap_is_the_difference_of_outputs_over_their_spread(x):
    model = net()
    model[1].running_mean.data[:] = 0.5
    batches = cut(x, 30, 20)
    seen, sums = examine(model, batches, 0.1), np.zeros(2)
    model[1].update_running_statistics = False
    for batch in batches:
        model.eval()
        given = model[0](Tensor(batch))
        inference = model[1](given).numpy()
        training = model[1].train()(given).numpy()
        sums += np.square(training - inference).sum(), np.square(training - training.mean(axis=0)).sum()
    assert seen.layers[0].gap == pytest.approx(np.sqrt(sums[0] / sums[1]))


def test_the_models_gap_and_the_predictions_that_change(x):
    model, batches = net(), cut(x, 30, 20)
    seen = examine(model, batches, 0.1)
    model.eval()
    plain = [model(batch).numpy() for batch in batches]
    for layer in (model[1], model[5]):
        layer.use_batch_statistics = True
    other = [model(batch).numpy() for batch in batches]
    changed = [a.argmax(axis=1) != b.argmax(axis=1) for a, b in zip(plain, other, strict=True)]
    assert 0 < seen.changed == np.concatenate(changed).mean() < 1
    squares = sum(np.square(a - b).sum() for a, b in zip(plain, other, strict=True))
    assert seen.output_gap == pytest.approx(np.sqrt(squares / sum(np.square(b - b.mean(0)).sum() for b in other)))


def test_one_number_an_example_is_no_prediction(x):
    seen = examine(nn.Sequential(nn.BatchNorm1D(4), nn.Linear(4, 1)).astype("float64"), [x], 0.1)
    assert seen.changed is None
    assert seen.output_gap > 0


@pytest.mark.parametrize(
    ("layer", "values", "units"),
    [
        (nn.BatchNorm2D(6), 8 * 20, 6),
        (nn.InstanceNorm2D(6), 20, 48),
        (nn.InstanceNorm2D(6, track_running_stats=True), 20, 48),
        (nn.GroupNorm(3, 6), 40, 24),
        (nn.LayerNorm((4, 5)), 20, 48),
        (nn.LayerNorm2D(6), 6, 160),
        (nn.RMSNorm(5), 5, 192),
        (nn.RMSNorm2D(6), 6, 160),
    ],
    ids=str,
)
def test_every_norm_is_counted_in_its_own_units(layer, values, units, rng):
    (figures,) = examine(layer, [rng.normal(size=(8, 6, 4, 5)).astype(np.float32)], 0.1).layers
    assert (figures.values, figures.fewest, figures.units, figures.vanishing) == (values, values, units, 0)
    assert figures.path == figures.kind == type(layer).__name__


def test_instance_norm_is_compared_with_the_average_of_the_images(rng):
    x = rng.normal(size=(6, 3, 4, 5)) * np.arange(1, 7)[:, None, None, None] + 2
    layer = nn.InstanceNorm2D(3, track_running_stats=True, dtype="float64")
    (figures,) = examine(layer, cut(x, 4, 2), 0.1).layers
    np.testing.assert_allclose(figures.mean, x.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(figures.variance, x.var(axis=(2, 3), ddof=1).mean(axis=0), rtol=1e-12)
    assert figures.gap > 0.5


def test_channels_and_rows_that_hardly_vary_are_counted(rng):
    x = rng.normal(size=(40, 6))
    x[:, :2] *= 1e-5
    (channels,) = examine(nn.BatchNorm1D(6, dtype="float64"), cut(x, 20, 20), 0.1).layers
    assert (channels.vanishing, channels.units) == (2, 6)
    (images,) = examine(nn.InstanceNorm1D(2, dtype="float64"), [x.reshape(40, 2, 3)], 0.1).layers
    assert (images.vanishing, images.units) == (0, 80)
    offset = 3 + x.T[:3] * [[1], [1], [1e-5]]
    for layer, expected in ((nn.LayerNorm(40, dtype="float64"), 3), (nn.RMSNorm(40, eps=1e-5, dtype="float64"), 0)):
        (figures,) = examine(layer, [offset], 0.1).layers  # far from 0, the mean square does not vanish
        assert (figures.vanishing, figures.units) == (expected, 3)


def test_frozen_layers_and_those_without_running_statistics_have_no_gap(x):
    model = net()
    model[1].frozen = True
    first, second = examine(model, [x], 0.1).layers
    assert (first.frozen, first.by_batch, first.gap) == (True, False, 0)
    assert first.mean_drift.max() > 0.1
    assert (second.frozen, second.by_batch) == (False, True)
    untracked = examine(net(track_running_stats=False), [x], 0.1)
    assert [(figures.gap, figures.mean_drift) for figures in untracked.layers] == [(None, None)] * 2
    assert untracked.output_gap == 0


def test_a_layer_frozen_by_its_own_eval_is_looked_at_in_inference_both_times(x):
    model = net()
    model[1].eval()
    first, second = examine(model, [x], 0.1).layers
    assert (first.frozen, first.by_batch, first.gap, first.useless_biases) == (True, False, 0, [])
    assert (second.frozen, second.by_batch, second.useless_biases) == (False, True, ["4.bias"])
    assert not model[1].training
    assert [layer.frozen for layer in examine(model.eval(), [x], 0.1).layers] == [False, False]


def test_an_empty_batch_counts_nothing(x):
    model = net()
    alone, among = examine(model, [x], 0.1), examine(model, [x[:0], x, x[:0]], 0.1)
    assert (among.batches, among.examples, among.output_gap) == (1, 50, alone.output_gap)
    assert among.layers[0].fewest == 50
    with pytest.raises(ValueError, match="the loader gave no batch"):
        examine(model, [x[:0]], 0.1)


def test_a_layer_that_is_never_called_has_no_figures(x):
    model = net()
    model.add_module("7", None)
    model[3].spare = nn.BatchNorm1D(3)
    spare = {figures.path: figures for figures in examine(model, [x], 0.1).layers}["3.spare"]
    assert (spare.calls, spare.values, spare.mean, spare.gap, spare.batches_tracked) == (0, 0, None, None, None)


class Drawing(Module):
    """Draws random numbers in inference too, counts its calls in a buffer, and writes to it in place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", Tensor(np.zeros(1)))

    def forward(self, x):
        self.calls.data[0] += 1
        return x + random.generator().normal(size=x.shape)


def test_all_is_afterwards_as_before(x):
    model = nn.Sequential(*net(), Drawing())
    model(Tensor(x)).sum().backward()
    model[1].eval()
    model[5].update_running_statistics = True
    loader = DataLoader((x, np.arange(50)), 7, shuffle=True)
    next(loader.resume())

    def state():
        return (
            {key: array.tolist() for key, array in model.state_dict().items()},
            [None if parameter.grad is None else parameter.grad.tolist() for parameter in model.parameters()],
            [module.training for module in model.modules()],
            [(model[i].use_batch_statistics, model[i].update_running_statistics) for i in (1, 5)],
            [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
            random.state_dict(),
            loader.state_dict(),
        )

    before = state()
    assert examine(model, loader, 0.1).batches == 8  # from the start, though one was handed out
    assert state() == before
    with pytest.raises(
        ValueError, match=r"Linear: the last axis of the input is in_features=4 long, got shape \(5, 3\)"
    ):
        examine(model, [x, np.ones((5, 3))], 0.1)
    assert state() == before


def test_infinite_statistics_are_examined_and_an_error_again_afterwards(x):
    model = net()
    model[1].running_var.data[0] = np.inf
    assert examine(model, [x], 0.1).layers[0].broken == 1
    with pytest.raises(ValueError, match="running_var is infinite in 1 of"):
        model.eval()(Tensor(x))


def test_a_backward_that_waits_is_not_disturbed(x):
    model = net()
    loss = model(Tensor(x)).square().sum()
    examine(model, [x], 0.1)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_prefetching_loader_keeps_its_position(x):
    loader = Prefetch(DataLoader((x, np.arange(50)), 20))
    next(loader.resume())
    assert examine(net(), loader, 0.1).examples == 50
    assert (loader.epoch, loader.batch) == (0, 1)


def test_a_last_batch_of_one_is_looked_at_as_in_inference(x):
    model = net()
    seen = examine(model, cut(x, 49, 1), 0.1)
    assert [figures.fewest for figures in seen.layers] == [1, 1]
    assert seen.examples == 50
    alone = examine(model, [x[:1]], 0.1)
    assert (alone.layers[0].mean, alone.layers[0].gap, alone.output_gap) == (None, 0, 0)


def test_several_outputs_and_batches_of_any_form(x):
    class Two(Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1D(4, dtype="float64")

        def forward(self, x):
            return self.norm(x), "more"

    gaps = {examine(Two(), batches, 0.1).output_gap for batches in ([x], iter([(x, 1)]), [[Tensor(x), None]])}
    assert len(gaps) == 1


def test_what_cannot_be_examined_is_an_error(x):
    with pytest.raises(TypeError, match="model is a Module, got ndarray"):
        examine(x, [x], 0.1)
    with pytest.raises(TypeError, match="loader is a source of batches, got one ndarray; a list of one array"):
        examine(net(), x, 0.1)
    with pytest.raises(TypeError, match="loader is a source of batches, got one int"):
        examine(net(), 3, 0.1)
    with pytest.raises(ValueError, match="no norm layer to look at; it is made of Sequential, Linear, ReLU"):
        examine(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), [x], 0.1)
    with pytest.raises(ValueError, match="the loader gave no batch"):
        examine(net(), [], 0.1)

    class Words(Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(4)

        def forward(self, x):
            return "a word"

    with pytest.raises(TypeError, match="the model's output is a Tensor, or several, got"):
        examine(Words(), [x], 0.1)


def test_other_statistics_are_compared_with_their_averages_over_the_batches(x, rng):
    batches = cut(x.reshape(50, 4), 30, 20)
    power, l1 = nn.PowerNorm(4, dtype="float64"), nn.L1Norm(4, dtype="float64")
    for layer in (power, l1):
        for _ in range(3):
            layer(rng.normal(size=(9, 4)))
    (figures,) = examine(power, batches, 0.1).layers
    true = np.sqrt(np.mean([np.square(each).mean(axis=0) for each in batches], axis=0) + 1e-5)
    factor = np.sqrt(power.running_square.raw + 1e-5) / true
    np.testing.assert_allclose(figures.scale_drift, np.maximum(factor, 1 / factor) - 1, rtol=1e-12)
    assert not figures.mean_drift.any()
    (figures,) = examine(l1, batches, 0.1).layers
    sizes = [np.pi / 2 * np.abs(each - each.mean(axis=0)).mean(axis=0) ** 2 for each in batches]
    true = np.sqrt(np.mean(sizes, axis=0) + 1e-5)
    means = np.mean([each.mean(axis=0) for each in batches], axis=0)
    np.testing.assert_allclose(figures.mean_drift, np.abs(l1.running_mean.raw - means) / true, rtol=1e-12)
    factor = np.sqrt(l1.running_var.raw + 1e-5) / true
    np.testing.assert_allclose(figures.scale_drift, np.maximum(factor, 1 / factor) - 1, rtol=1e-12)
    assert (figures.broken, figures.batches_tracked, figures.by_batch) == (0, 3, True)


def test_a_mean_that_inference_does_not_subtract_does_not_drift(rng):
    layer = nn.EvoNormB0(3, dtype="float64")
    layer.running_mean.data[:] = 100
    (figures,) = examine(layer, [rng.normal(size=(8, 3, 4, 5))], 0.1).layers
    assert not figures.mean_drift.any()
    assert figures.scale_drift.max() < 0.2


class Padded(Module):
    """A masked norm of sequences whose padding is NaN."""

    def __init__(self, norm, by_name):
        super().__init__()
        self.norm, self.by_name = norm, by_name

    def forward(self, x):
        mask = np.arange(x.shape[2]) < 1 + np.arange(len(x))[:, None] % x.shape[2]
        padded = Tensor(np.where(mask[:, None], x.numpy(), np.nan))
        return self.norm(padded, mask=mask) if self.by_name else self.norm(padded, mask)


@pytest.mark.parametrize("by_name", [False, True])
def test_of_a_masked_norm_what_counts_is_looked_at(by_name, rng):
    x, layer = rng.normal(2, 3, (12, 3, 4)), nn.MaskedBatchNorm1D(3, dtype="float64")
    counted = np.concatenate([each[:, : 1 + i % 4].T for i, each in enumerate(x)])
    (figures,) = examine(Padded(layer, by_name), [x], 0.1).layers
    std = np.sqrt(counted.var(axis=0, ddof=1) + 1e-5)
    np.testing.assert_allclose(figures.mean_drift, np.abs(counted.mean(axis=0)) / std, rtol=1e-12)
    y, other = (counted - counted.mean(axis=0)) / np.sqrt(counted.var(axis=0) + 1e-5), counted / np.sqrt(1 + 1e-5)
    assert figures.gap == pytest.approx(np.sqrt(np.square(y - other).sum() / np.square(y).sum()), rel=1e-6)
    assert (figures.values, figures.units, figures.mean) == (0, 0, None)
    assert figures.left_out.keys() == {"vanishing variance", "few values", "short batch"}
    layer.frozen = True
    (figures,) = examine(Padded(layer, by_name), [x[:1]], 0.1).layers  # one value a channel, which training refuses
    assert (figures.mean_drift, figures.gap) == (None, 0)
    assert "drift" in figures.left_out


def test_conditions_are_seen_however_they_are_given(rng):
    class Net(Module):
        def __init__(self, by_name):
            super().__init__()
            self.norm, self.by_name = nn.ConditionalBatchNorm1D(3, 2, dtype="float64"), by_name

        def forward(self, x):
            labels = np.arange(len(x.raw)) % 2
            return self.norm(x, condition=labels) if self.by_name else self.norm(x, labels)

    x = rng.normal(2, 3, (12, 3))
    found = [examine(Net(by_name), [x], 0.1).layers[0] for by_name in (False, True)]
    np.testing.assert_allclose(found[0].mean, x.mean(axis=0))
    assert found[0].gap == found[1].gap > 0.4
    assert [each.left_out for each in found] == [{"dead scales": "whose scale a condition tells"}] * 2


@pytest.mark.parametrize(
    ("layer", "left"),
    [
        (nn.DynamicTanh(6), {"vanishing variance", "few values", "short batch", "useless bias"}),
        (nn.EvoNormB0(6, nonlinear=False), {"vanishing variance", "few values", "short batch", "useless bias"}),
        (nn.GlobalResponseNorm(6), {"vanishing variance", "few values", "short batch", "useless bias", "dead scales"}),
        (nn.IterNorm2D(6, 3), {"drift"}),
        (nn.PowerNorm(6), set()),
        (nn.L1Norm(6), set()),
    ],
    ids=lambda value: "" if isinstance(value, set) else type(value).__name__,
)
def test_what_is_left_out_is_told(layer, left, rng):
    before = {key: array.tolist() for key, array in layer.state_dict().items()}
    (figures,) = examine(layer, [rng.normal(size=(8, 6, 4, 5)).astype(np.float32)], 0.1).layers
    assert figures.left_out.keys() == left
    assert (figures.scale_drift is None) == ("drift" in left or not figures.unit)
    assert {key: array.tolist() for key, array in layer.state_dict().items()} == before
    assert "forward" not in vars(layer)


def test_power_norm_is_examined_by_the_mean_square_wherever_its_channels_stand(rng):
    x = rng.normal(size=(9, 4, 3)) * [1, 1e-5, 1e-5] + [0, 0, 2]
    for last, given in ((True, x), (False, np.moveaxis(x, -1, 1))):
        (figures,) = examine(nn.PowerNorm(3, channels_last=last, dtype="float64"), [given], 0.1).layers
        np.testing.assert_allclose(figures.mean, x.mean(axis=(0, 1)), rtol=1e-10)
        np.testing.assert_allclose(figures.variance, x.reshape(-1, 3).var(axis=0, ddof=1), rtol=1e-6)
        assert (figures.vanishing, figures.units, figures.values) == (1, 3, 36)  # one is far from 0


@pytest.mark.parametrize("learned_eps", [False, True])
def test_images_of_one_pixel_are_looked_at_though_training_refuses_them(learned_eps, rng):
    model = nn.Sequential(nn.Conv2D(2, 3, 4), nn.FilterResponseNorm2D(3, learned_eps=learned_eps))
    (figures,) = examine(model, [rng.normal(size=(8, 2, 4, 4)).astype(np.float32)], 0.1).layers
    assert (figures.values, figures.fewest) == (1, 1)
    assert ("few values" in figures.left_out) == learned_eps
