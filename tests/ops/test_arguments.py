import inspect

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, no_grad, ops
from tinygrad_norm.ops.arguments import cached, check_dtypes, shape_dtype_of, shape_dtypes_of
from tinygrad_norm.ops.normalization import norm_spec


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (np.ones((2, 3), np.float32), ((2, 3), np.dtype("float32"))),
        (Tensor(np.ones(4)), ((4,), np.dtype("float64"))),
        ([[1.0, 2.0]], ((1, 2), np.dtype("float32"))),  # as a tensor of them
        ([1, 2], ((2,), np.dtype("int64"))),
        (np.float64(3), ((), None)),
        (np.float32(3), ((), None)),
        (3.0, ((), None)),
    ],
)
def test_the_kind_of_an_operand(given, kind):
    for found in (shape_dtype_of(given), *shape_dtypes_of(given)):
        assert found[0] == kind[0]
        assert (found[1] is None) == (kind[1] is None)  # as NumPy's float64 equals None
        assert kind[1] is None or found[1] == kind[1]
    assert shape_dtypes_of(None, given)[0] is None


def test_a_check_runs_once_for_each_set_of_arguments():
    seen = []

    @cached
    def check(*arguments):
        seen.append(arguments)
        return len(seen)

    kinds = shape_dtype_of(np.ones(2)), shape_dtype_of(np.ones(2, np.float32))
    assert [check(kinds[0], 1), check(kinds[0], 1), check(kinds[1], 1), check(kinds[0], 2)] == [1, 1, 2, 3]
    assert [check(kinds[0], True), check(kinds[0], 1.0), check(kinds[0], 1)] == [4, 5, 1]
    assert [check([1]), check([1])] == [6, 7]  # which has no hash


@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_a_check_that_raises_is_not_cached(error):
    seen = []

    @cached
    def check(value):
        seen.append(value)
        if len(seen) < 5:
            raise error("wrong")
        return value

    for _ in range(2):
        with pytest.raises(error, match="wrong") as found:
            check(1)
        assert found.value.__context__ is None
    while len(seen) < 4:
        with pytest.raises(error):
            check(1)
    assert check(1) == 1


def test_a_cached_call_still_names_the_layer_that_made_an_error():
    x = np.ones((2, 3, 5, 5), np.float32)
    for name in ("first", "second"):
        model = nn.Sequential({name: nn.Conv2D(3, 4, 7)})
        with pytest.raises(ValueError, match=f"conv2d in {name}: a kernel"):
            model(x)


def test_right_arguments_do_not_let_wrong_ones_pass():
    x, w = np.ones((2, 4)), np.ones(4)
    ops.batch_norm(x, w, w, w)
    with pytest.raises(TypeError, match="one floating dtype"):
        ops.batch_norm(x, w, w, w.astype(np.float32))
    with pytest.raises(ValueError, match="weight has shape"):
        ops.batch_norm(x, w, w, w[:2])
    images, filters = np.ones((1, 1, 3, 3)), np.ones((1, 1, 1, 1))
    ops.conv2d(images, filters, stride=1)
    with pytest.raises(TypeError, match="stride is an integer"):
        ops.conv2d(images, filters, stride=True)
    ops.linear(x, w[None])
    with pytest.raises(TypeError, match="one floating dtype"):
        ops.linear(x, w[None].astype(np.float32))


def test_wrong_arguments_do_not_spoil_right_ones():
    x, w = np.ones((2, 4)), np.ones(4)
    for norm in (ops.layer_norm, ops.rms_norm):
        for wrong in ((4.0,), 4.0):
            with pytest.raises(TypeError, match=r"normalized_shape is an integer or several, got \(?4\.0"):
                norm(x, wrong, w)
        assert norm(x, (4,), w).shape == norm(x, np.int64(4), w).shape == norm(x, [4], w).shape == (2, 4)
        with pytest.raises(TypeError, match="integer"):
            norm(x, (4.0,), w)


def test_lists_are_float32_as_tensors_of_them_are():
    x, w = np.ones((1, 2, 3, 3)), np.ones((4, 2, 3, 3))
    for op, given, weight in ((ops.conv2d, x, w), (ops.linear, x[0, 0], w[0, 0])):
        with pytest.raises(TypeError, match="one floating dtype is needed throughout"):
            op(given, weight.tolist())
        assert op(given.tolist(), weight.tolist()).dtype == np.float32


def test_a_momentum_that_changes_takes_no_room():
    x, running = np.ones((2, 4)), [np.zeros(4), np.ones(4)]
    assert "momentum" not in inspect.signature(norm_spec).parameters
    ops.batch_norm(x, *running, training=True, momentum=0.5)
    with pytest.raises(ValueError, match="momentum is the weight of the new value"):
        ops.batch_norm(x, *running, training=True, momentum=1.5)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_one_floating_dtype_is_needed_throughout(kind):
    x, other = ((2,), np.dtype(kind)), ((2,), np.dtype("float32" if kind == "float64" else "float64"))
    check_dtypes("op", input=x, weight=x, bias=None, scale=((), None))
    check_dtypes("op", input=((), None))
    for wrong in ({"weight": other}, {"weight": x, "bias": other}, {"weight": ((2,), np.dtype("int64"))}):
        with pytest.raises(TypeError, match=f"op: one floating dtype is needed throughout, but given are input {kind}"):
            check_dtypes("op", input=x, **wrong)
    with pytest.raises(TypeError, match="given are input int64"):
        check_dtypes("op", input=((2,), np.dtype("int64")))


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
@pytest.mark.parametrize("norm", [ops.batch_norm, ops.instance_norm])
def test_running_statistics_that_want_a_gradient_are_refused_as_they_would_get_none(norm, name):
    running = {"running_mean": np.zeros(3), "running_var": np.ones(3)}
    running[name] = Tensor(running[name], requires_grad=True)
    with pytest.raises(RuntimeError, match=f"{norm.__name__}: no gradient goes through {name}, .* give {name}.detach"):
        norm(np.ones((4, 3, 2)), **running)
    with no_grad():
        norm(np.ones((4, 3, 2)), **running)


@pytest.mark.parametrize("loss", [ops.cross_entropy, ops.nll_loss])
def test_class_weights_that_want_a_gradient_are_refused_as_they_would_get_none(loss):
    weight = Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(RuntimeError, match=f"{loss.__name__}: no gradient goes through weight"):
        loss(np.zeros((4, 3)), np.zeros(4, int), weight)
    assert loss(np.zeros((4, 3)), np.zeros(4, int), weight.detach()).shape == ()
