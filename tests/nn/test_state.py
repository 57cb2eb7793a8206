from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("count", Tensor(np.array(4)))
        self.register_buffer("scratch", Tensor([1.0]), persistent=False)


def test_state_dict_is_copies_by_path_without_what_is_not_persistent():
    model = Counter()
    state = model.state_dict()
    assert list(state) == ["count", "layer.weight", "layer.bias"]
    assert all(type(array) is np.ndarray for array in state.values())
    state["layer.bias"][:] = 9
    state["count"][...] = 9
    assert model.count.item() == 4
    assert not np.any(model.layer.bias.data == 9)


def test_loading_gives_each_tensor_an_array_of_its_own():
    source, target = Counter(), Counter()
    source.count = Tensor(np.array(7))
    state = source.state_dict()
    weight = target.layer.weight
    handed_out = weight.data
    old = handed_out.copy()
    result = target.load_state_dict(state)
    assert result == ([], [])
    assert target.layer.weight is weight
    for name, array in target.state_dict().items():
        np.testing.assert_array_equal(array, source.state_dict()[name])
    state["layer.weight"][:] = 0
    np.testing.assert_array_equal(weight.data, source.layer.weight.data)
    np.testing.assert_array_equal(handed_out, old)


def test_loading_casts_within_a_kind_and_takes_tensors_and_any_memory_layout():
    model = Counter()
    weight = np.arange(6.0).reshape(3, 2).T
    for tensor in (Tensor(weight), nn.Parameter(weight)):  # of which the second wants a gradient
        model.layer.weight.data[:] = 0
        model.load_state_dict({"count": np.int32(5), "layer.weight": tensor, "layer.bias": [0.5, 0.25]})
        np.testing.assert_array_equal(model.layer.weight.data, weight)
    assert model.count.dtype == np.int64
    assert model.layer.weight.dtype == np.float32
    assert model.layer.weight.data.flags.c_contiguous
    assert model.state_dict()["layer.bias"].tolist() == [0.5, 0.25]


def test_every_mismatch_is_listed_and_nothing_is_loaded():
    model = Counter()
    before = model.state_dict()
    given = {
        "layer.wieght": np.ones((2, 3)),
        "layer.bias": np.ones(3),
        "count": np.array(1.5),
        "elsewhere": np.ones(1),
    }
    with pytest.raises(ValueError, match=r"Counter\.load_state_dict: nothing was loaded") as error:
        model.load_state_dict(given)
    assert str(error.value).splitlines()[1:] == [
        "  missing key layer.weight, shape (2, 3)",
        "  unexpected key layer.wieght; did you mean layer.weight?",
        "  unexpected key elsewhere",
        "  count has dtype int64, got float64",
        "  layer.bias has shape (2,), got (3,)",
    ]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_the_key_that_was_meant_is_sought_among_the_missing_ones():
    model = nn.Module()
    model.scale1, model.scale2 = nn.Parameter([1.0]), nn.Parameter([1.0])
    with pytest.raises(ValueError, match=r"scale11; did you mean scale2\?"):
        model.load_state_dict({"scale1": np.ones(1), "scale11": np.ones(1)})


@pytest.mark.parametrize("bias", [np.ones(2, int), np.ones(2, bool), np.ones(2, complex), np.array(["a", "b"])])
def test_another_kind_of_dtype_is_refused(bias):
    model = nn.Linear(3, 2)
    before = model.state_dict()
    with pytest.raises(ValueError, match="bias has dtype float32, got"):
        model.load_state_dict({"weight": np.ones((2, 3)), "bias": bias})
    np.testing.assert_array_equal(model.weight.data, before["weight"])


def test_not_strict_loads_what_fits_and_returns_the_rest():
    model = nn.Linear(3, 2)
    bias = model.state_dict()["bias"]
    result = model.load_state_dict({"weight": np.ones((2, 3)), "more": np.ones(1)}, strict=False)
    assert result.missing_keys == ["bias"]
    assert result.unexpected_keys == ["more"]
    np.testing.assert_array_equal(model.weight.data, np.ones((2, 3)))
    np.testing.assert_array_equal(model.bias.data, bias)


def test_not_strict_still_refuses_a_wrong_shape():
    model = nn.Linear(3, 2)
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"weight has shape \(2, 3\), got \(3, 2\)"):
        model.load_state_dict({"weight": np.ones((3, 2)), "bias": np.ones(2)}, strict=False)
    np.testing.assert_array_equal(model.bias.data, before["bias"])


def test_keys_of_another_type_and_what_is_no_mapping():
    numbered: Any = {3: np.ones(1)}
    listed: Any = [3]
    with pytest.raises(ValueError, match=r"unexpected key \\x1b\[2J\\n$"):
        nn.Identity().load_state_dict({"\x1b[2J\n": np.zeros(1)})
    with pytest.raises(ValueError, match="unexpected key 3"):
        nn.Identity().load_state_dict(numbered)
    with pytest.raises(TypeError, match="the state is a dict of names and arrays, got list"):
        nn.Identity().load_state_dict(listed)


def test_values_beyond_the_dtype_are_refused():
    model = Counter()
    model.small = nn.Parameter(np.ones(2), dtype="float64")
    model.register_buffer("narrow", Tensor(np.zeros(1, np.int32)))
    before = model.state_dict()
    given = {**before, "layer.bias": np.array([1e300, -np.inf]), "narrow": np.array([2**31])}
    with pytest.raises(ValueError, match="nothing was loaded") as error:
        model.load_state_dict(given)
    assert str(error.value).splitlines()[1:] == [
        "  narrow holds 2147483648, which is beyond int32",
        "  layer.bias holds 1e+300, which is beyond float32",
    ]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    fitting = {"layer.bias": np.array([np.inf, 1e-300]), "small": np.array([1e300, np.nan]), "narrow": np.array([7])}
    model.load_state_dict({**before, **fitting})
    for name, array in fitting.items():
        np.testing.assert_array_equal(model.state_dict()[name], array.astype(before[name].dtype))


class Tied(nn.Module):
    """An embedding and a head that are one matrix."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.head.weight = self.embed.weight


def test_different_arrays_for_one_tensor_are_refused():
    model, ones = Tied(), np.ones((3, 3))
    before = model.state_dict()
    with pytest.raises(
        ValueError, match=r"embed\.weight and head\.weight are one tensor here, but the arrays .* differ"
    ):
        model.load_state_dict({"embed.weight": ones, "head.weight": 2 * ones})
    np.testing.assert_array_equal(model.embed.weight.numpy(), before["embed.weight"])
    ones[0] = np.nan
    model.load_state_dict({"embed.weight": ones, "head.weight": ones.astype(np.float32)})
    np.testing.assert_array_equal(model.head.weight.numpy(), ones)


@pytest.mark.parametrize("name", ["embed.weight", "head.weight"])
def test_one_array_for_a_tensor_of_two_names_is_enough(name):
    model, ones = Tied(), np.ones((3, 3))
    assert model.load_state_dict({name: ones}) == ([], [])
    assert model.head.weight is model.embed.weight
    np.testing.assert_array_equal(model.embed.weight.numpy(), ones)
    with pytest.raises(ValueError, match=r"missing key embed\.weight, shape \(3, 3\)\n  missing key head\.weight"):
        model.load_state_dict({})


def test_a_count_of_batches_that_an_older_file_lacks_is_0():
    model = nn.Sequential({"norm": nn.BatchNorm1D(2), "twice": nn.Sequential(nn.InstanceNorm1D(2))})
    model.norm.num_batches_tracked = Tensor(5)
    state = model.state_dict()
    older = {name: array + 1 for name, array in state.items() if not name.endswith("tracked")}
    assert model.load_state_dict(older) == ([], [])
    assert model.norm.num_batches_tracked.item() == 0
    np.testing.assert_array_equal(model.norm.running_mean.numpy(), [1, 1])
    assert "norm.num_batches_tracked" not in older

    model.norm.num_batches_tracked = Tensor(5)
    part = {"norm.weight": np.ones(2)}
    assert "norm.num_batches_tracked" in model.load_state_dict(part, strict=False).missing_keys
    assert model.norm.num_batches_tracked.item() == 5
    alone, none = nn.BatchNorm1D(2), nn.BatchNorm1D(2, track_running_stats=False)
    alone.load_state_dict({name.removeprefix("norm."): array for name, array in older.items()})
    with pytest.raises(
        ValueError, match=r"nothing was loaded:\n  unexpected key running_mean\n  unexpected key running_var$"
    ):
        none.load_state_dict({name.removeprefix("norm."): array for name, array in older.items()})


def test_shared_modules_stand_under_each_path_and_come_back_shared():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    model.load_state_dict({name: array + 1 for name, array in state.items()})
    np.testing.assert_array_equal(layer.bias.data, state["0.bias"] + 1)


def test_a_mask_is_not_lost():
    layer = nn.Linear(2, 1, bias=False)
    with pytest.raises(TypeError, match="its mask would be lost"):
        layer.load_state_dict({"weight": np.ma.masked_array(np.ones((1, 2)), mask=[[True, False]])})
