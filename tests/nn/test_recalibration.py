from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, nn
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.modes import Hook, hooks
from tinygrad_norm.nn.recalibration import Images, Population, recalibrate


def assert_statistics(layer, mean, var, rtol=1e-12):
    np.testing.assert_allclose(layer.running_mean.raw, mean, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(layer.running_var.raw, var, rtol=rtol, atol=rtol)


def state(model):
    return {key: array.tolist() for key, array in model.state_dict().items()}


def cut(x, sizes):
    return np.split(x, np.cumsum(sizes)[:-1])


def deep(**more):
    """Three norms of two kinds, with what a mode changes in between."""
    model = nn.Sequential(
        nn.Linear(4, 6),
        nn.BatchNorm1D(6, activation="tanh", **more),
        nn.Dropout(0.5),
        nn.Linear(6, 3),
        nn.Sequential(nn.BatchNorm1D(3, **more), nn.SiLU()),
        nn.BatchNorm1D(3, **more),
    )
    return model.astype("float64")


def seen(model, x):
    """What each norm layer is given in inference, with the layer."""
    found = []

    def note(layer, args):
        found.append((layer, args[0].numpy()))

    handles = [layer.register_forward_pre_hook(note) for layer in model.modules() if isinstance(layer, nn.BatchNorm1D)]
    model.eval()(Tensor(x))
    for handle in handles:
        handle.remove()
    return found


def test_a_short_last_batch_weighs_what_it_holds():
    # 2.31 / 0.79 is the plain average of the batches' statistics, as PyTorch's update_bn takes it.
    def batch(size, mean):
        return mean + np.sqrt(0.79 * (size - 1) / size) * np.resize([1, -1], (size, 1))

    batches = [batch(68, 1.78), batch(68, -1.78), batch(2, 6.93)]
    assert np.mean([b.mean() for b in batches]) == pytest.approx(2.31)
    assert np.mean([b.var(ddof=1) for b in batches]) == pytest.approx(0.79)
    layer, everything = nn.BatchNorm1D(1, dtype="float64"), np.concatenate(batches)
    recalibrate(layer, batches)
    assert_statistics(layer, everything.mean(axis=0), everything.var(axis=0, ddof=1))
    assert layer.running_mean.item() == pytest.approx(0.10, abs=0.005)
    assert layer.running_var.item() == pytest.approx(4.60, abs=0.02)
    assert layer.num_batches_tracked.item() == 3


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.sampled_from([0.0, 1e6]), st.booleans())
def test_any_cut_gives_the_statistics_of_the_whole(sizes, offset, images):
    x = offset + np.random.default_rng(0).normal(size=(sum(sizes) + 1, 3, 2, 5) if images else (sum(sizes) + 1, 3))
    layer = (nn.BatchNorm2D if images else nn.BatchNorm1D)(3, dtype="float64")
    recalibrate(layer, cut(x, [*sizes[:-1], sizes[-1] + 1]))
    axes = (0, 2, 3) if images else 0
    assert_statistics(layer, x.mean(axis=axes), x.var(axis=axes, ddof=1), 1e-9 if offset else 1e-12)


@pytest.mark.parametrize("sizes", [[50], [16, 16, 16, 2], [1] * 50, [1, 49]])
def test_each_layer_gets_the_statistics_of_what_it_is_given_in_inference(sizes, rng):
    model, x = deep(), rng.normal(size=(50, 4)) * 3 + 1
    recalibrate(model, [(batch, None) for batch in cut(x, sizes)])
    inputs = seen(model, x)
    assert len(inputs) == 3
    for layer, values in inputs:
        assert_statistics(layer, values.mean(axis=0), values.var(axis=0, ddof=1))
        assert layer.num_batches_tracked.item() == len(sizes)


def test_one_pass_takes_the_statistics_of_batches_on_the_way(rng):
    model, x = deep(), rng.normal(size=(50, 4)) * 3 + 1
    batches = cut(x, [32, 18])
    recalibrate(model, iter(batches), one_pass=True)
    first = model[0](x).numpy()
    assert_statistics(model[1], first.mean(axis=0), first.var(axis=0, ddof=1))
    model.eval()
    model[1].use_batch_statistics = True
    second = np.concatenate([model[:4](batch).numpy() for batch in batches])
    assert_statistics(model[4][0], second.mean(axis=0), second.var(axis=0, ddof=1))


def test_instance_norm_averages_over_the_images(rng):
    x = rng.normal(size=(7, 3, 4, 2)) * np.arange(1, 8)[:, None, None, None]
    layer = nn.InstanceNorm2D(3, track_running_stats=True, dtype="float64")
    truth = x.mean(axis=(0, 2, 3)), x.var(axis=(2, 3), ddof=1).mean(axis=0)
    for batches in (cut(x, [3, 3, 1]), list(x)):  # the latter: image by image, without a batch axis
        layer.reset_running_stats()
        recalibrate(layer, batches)
        assert_statistics(layer, *truth)


def test_frozen_untracked_and_unused_layers_are_left_alone(rng):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen, self.untracked, self.unused, self.used = (
                nn.BatchNorm1D(3, track_running_stats=number != 1) for number in range(4)
            )
            self.frozen.frozen = True
            self.plain = nn.LayerNorm(3)

        def forward(self, x):
            return self.plain(self.used(self.untracked(self.frozen(x))))

    for one_pass in (False, True):
        net = Net()
        before = state(net)
        recalibrate(net, [rng.normal(size=(9, 3)).astype(np.float32)], one_pass)
        after = state(net)
        assert {key for key in before if before[key] != after[key]} == {
            "used.running_mean",
            "used.running_var",
            "used.num_batches_tracked",
        }


def test_modes_say_nothing_of_what_is_recalibrated(rng):
    model = deep()
    model[4].eval()
    recalibrate(model, [rng.normal(size=(9, 4))])
    assert [layer.num_batches_tracked.item() for layer in (model[1], model[4][0], model[5])] == [1, 1, 1]


def test_an_empty_batch_counts_nothing(rng):
    x = rng.normal(size=(9, 3))
    for layer, more in ((nn.BatchNorm1D(3), ()), (nn.InstanceNorm1D(3, track_running_stats=True), (5,))):
        for batches in ([(0, 3), (9, 3)], [(9, 3), (0, 3)]):
            kind = Images if more else Population
            population = kind(layer, "norm")
            for shape in batches:
                population.add(np.resize(x, (*shape, *more)))
            whole = kind(layer, "norm")
            whole.add(np.resize(x, (9, 3, *more)))
            np.testing.assert_array_equal(population.mean, whole.mean)
            np.testing.assert_array_equal(population.variance(), whole.variance())


def test_modes_and_switches_are_as_before(rng):
    for one_pass in (False, True):
        model = deep().train()
        model[4].eval()
        model[1].update_running_statistics = True
        model[5].use_batch_statistics = False
        weights = [parameter.raw.tolist() for parameter in model.parameters()]
        recalibrate(model, [rng.normal(size=(9, 4))], one_pass)
        assert [module.training for module in model] == [True, True, True, True, False, True]
        assert (model[1].update_running_statistics, model[1].use_batch_statistics) == (True, None)
        assert (model[5].update_running_statistics, model[5].use_batch_statistics) == (None, False)
        assert [parameter.raw.tolist() for parameter in model.parameters()] == weights
        assert not any(layer.has_hooks for layer in model.modules())


def test_a_layer_told_to_move_its_statistics_always_does_not_do_so_meanwhile(rng):
    model, x = deep(), rng.normal(size=(20, 4))
    model[1].update_running_statistics = True
    recalibrate(model, [x[:5], x[5:]])
    first = model[0](x).numpy()
    assert_statistics(model[1], first.mean(axis=0), first.var(axis=0, ddof=1))


class Failing:
    """Batches, until on some pass the loader gives up."""

    def __init__(self, batches, on_pass):
        self.batches, self.left = batches, on_pass

    def __iter__(self):
        self.left -= 1
        yield self.batches[0]
        if not self.left:
            raise OSError("the disk is gone")
        yield from self.batches[1:]


@pytest.mark.parametrize("on_pass", [1, 2, 3])
def test_after_an_error_all_is_as_before(on_pass, rng):
    model = deep().train()
    model(rng.normal(size=(9, 4)))
    before = state(model)
    with pytest.raises(OSError, match="the disk is gone"):
        recalibrate(model, Failing([rng.normal(size=(5, 4)), rng.normal(size=(5, 4))], on_pass))
    assert state(model) == before
    assert all(module.training for module in model.modules())
    assert not any(module.has_hooks for module in model.modules())


def test_a_loader_without_batches_is_an_error(rng):
    model = deep()
    before = state(model)
    with pytest.raises(ValueError, match="the loader gave no batch"):
        recalibrate(model, [])
    with pytest.raises(ValueError, match="a generator will not do"):
        recalibrate(model, iter([rng.normal(size=(5, 4))]))
    assert state(model) == before


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.BatchNorm1D(4), (1, 4)), (nn.InstanceNorm1D(4, track_running_stats=True), (2, 4, 1))],
)
def test_one_value_per_channel_is_an_error_that_names_the_layer(layer, shape):
    model = nn.Sequential({"first": nn.Identity(), "norm": layer})
    before = state(model)
    with pytest.raises(ValueError, match="recalibrate: norm is given one value per channel"):
        recalibrate(model, [np.ones(shape, np.float32)])
    assert state(model) == before


def test_infinite_statistics_are_taken_anew_or_refused(rng):
    model = nn.Sequential({"first": nn.BatchNorm1D(2), "second": nn.BatchNorm1D(2)})
    for layer in model:
        layer.running_var.data[0] = np.inf
    x = rng.normal(size=(9, 2)).astype(np.float32)
    recalibrate(model, [x])
    assert_statistics(model[0], x.mean(axis=0), x.var(axis=0, ddof=1), 1e-6)
    model.eval()(x)
    before = state(model)
    with pytest.raises(ValueError, match="BatchNorm1D in first: running_var is infinite in 2 of 2 channels"):
        recalibrate(model, [x * 1e20])
    assert state(model) == before


def test_the_loader_keeps_its_position_and_is_read_from_the_start(rng):
    x = rng.normal(size=(10, 4)).astype(np.float32)
    loader = DataLoader(ArrayDataset(x, np.arange(10)), batch_size=3, shuffle=True)
    model = nn.Sequential(nn.BatchNorm1D(4), nn.BatchNorm1D(4))
    order = [batch.tolist() for batch, _ in DataLoader(loader.dataset, batch_size=3, shuffle=True)]
    met = []
    for batch, _ in loader.resume():
        met.append(batch.tolist())
        recalibrate(model, loader)
    assert met == order
    assert_statistics(model[0], x.mean(axis=0), x.var(axis=0, ddof=1), 1e-6)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, None), lambda x: [x, None], lambda x: (Tensor(x),)])
def test_batches_are_arrays_tensors_or_begin_with_them(wrap, rng):
    x, layer = rng.normal(size=(6, 3)).astype(np.float32), nn.BatchNorm1D(3)
    recalibrate(layer, [wrap(x)])
    assert layer.running_mean.dtype == layer.running_var.dtype == np.float32
    assert_statistics(layer, x.mean(axis=0), x.var(axis=0, ddof=1), 1e-6)


def test_a_layer_that_is_called_twice_is_given_both(rng):
    norm = nn.BatchNorm1D(3, dtype="float64")

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = norm

        def forward(self, x):
            self.norm(x)
            return self.norm(x * 3 + 1)

    x = rng.normal(size=(6, 3))
    recalibrate(Twice(), [x[:4], x[4:]])
    both = np.concatenate([x, x * 3 + 1])
    assert_statistics(norm, both.mean(axis=0), both.var(axis=0, ddof=1))


def test_nothing_is_recorded(rng):
    class Recorded(Hook):
        found = False

        def after_forward(self, op, inputs, output):
            self.found |= output.requires_grad

    recorded = Recorded()
    with hooks(recorded):
        recalibrate(deep(), [rng.normal(size=(5, 4))])
    assert not recorded.found


def test_a_model_without_norms_is_not_called():
    class Watched(nn.Linear):
        def forward(self, x):
            called.append(x)
            return super().forward(x)

    called: list[object] = []
    for loader in ([], [np.ones((4, 2), np.float32)]):
        recalibrate(Watched(2, 3), loader)
    assert called == []


@pytest.mark.parametrize("kind", [nn.MaskedBatchNorm1D, nn.L1Norm, nn.LInfNorm, nn.PowerNorm, nn.IterNorm1D])
def test_a_norm_that_keeps_other_statistics_is_refused(kind):
    model = nn.Sequential({"norm": kind(2)})
    with pytest.raises(ValueError, match=f"recalibrate: norm is a {kind.__name__}, whose running statistics are not"):
        recalibrate(model, [np.ones((3, 2), np.float32)])


@pytest.mark.parametrize("kind", [nn.PowerNorm, nn.IterNorm1D])
def test_a_frozen_norm_that_keeps_other_statistics_is_left_alone(kind, rng):
    model = nn.Sequential(kind(2), nn.BatchNorm1D(2)).astype("float64")
    model[0].frozen = True
    before, x = model[0].state_dict(), rng.normal(size=(6, 2))
    recalibrate(model, [x])
    y = model[0](x).raw
    assert_statistics(model[1], y.mean(axis=0), y.var(axis=0, ddof=1))
    for key, array in model[0].state_dict().items():
        np.testing.assert_array_equal(array, before[key])
