from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, composed, grad, ops
from tinygrad_norm.testing import compare_with_composition, gradcheck

WEIGHT = np.array([0.5, 2.0, 1.0, 3.0])
LABELS = np.array([0, 3, 1, 1, 2, 3])
DIFFERENCES = [ops.mse_loss, ops.l1_loss, ops.huber_loss, ops.binary_cross_entropy_with_logits]
CLASSIFIERS = [ops.cross_entropy, ops.nll_loss]


def leaf(array):
    return Tensor(np.asarray(array, np.float64), requires_grad=True)


def log_softmax(x, axis=1):
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


@pytest.fixture
def logits(rng):
    return leaf(rng.normal(size=(6, 4)))


def test_every_op_has_tests(exported):
    assert exported("loss") == {op.__name__ for op in [*DIFFERENCES, *CLASSIFIERS]}


def test_agrees_with_pytorch(golden):
    np.testing.assert_allclose(*golden, rtol=1e-9, atol=1e-12)


# Cross-entropy


def test_cross_entropy_by_hand():
    x = leaf([[0.0, math.log(3)], [math.log(4), 0.0]])  # probabilities 1/4, 3/4 and 4/5, 1/5
    losses = ops.cross_entropy(x, [0, 0], reduction="none")
    np.testing.assert_allclose(losses.numpy(), [math.log(4), math.log(5 / 4)], rtol=1e-14)
    assert ops.cross_entropy(x, [0, 0]).item() == pytest.approx(math.log(5) / 2)
    assert ops.cross_entropy(x, [0, 0], weight=[1.0, 9.0], reduction="sum").item() == pytest.approx(math.log(5))
    weighted = (3 * math.log(4 / 3) + math.log(5 / 4)) / 4
    assert ops.cross_entropy(x, [1, 0], weight=[1.0, 3.0]).item() == pytest.approx(weighted)
    (dx,) = grad(ops.cross_entropy(x, [0, 1], reduction="sum"), [x])
    np.testing.assert_allclose(dx.numpy(), [[-0.75, 0.75], [0.8, -0.8]], rtol=1e-14)


def test_smoothing_is_a_mixture_with_uniform_labels(logits):
    smoothed = ops.cross_entropy(logits, LABELS, label_smoothing=0.3).item()
    surprise = -log_softmax(logits.numpy())
    assert smoothed == pytest.approx((0.7 * surprise[range(6), LABELS] + 0.3 * surprise.mean(1)).mean())
    assert ops.cross_entropy(logits, LABELS, label_smoothing=1.0).item() == pytest.approx(surprise.mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_hard_labels_are_one_hot_probabilities(logits, weight, smoothing):
    hard = ops.cross_entropy(logits, LABELS, weight, reduction="none", label_smoothing=smoothing)
    soft = ops.cross_entropy(logits, np.eye(4)[LABELS], weight, reduction="none", label_smoothing=smoothing)
    np.testing.assert_allclose(hard.numpy(), soft.numpy(), rtol=1e-12)


def test_what_is_ignored_does_not_count(logits):
    ignored = LABELS == 1
    labels = np.where(ignored, -100, LABELS)
    losses = ops.cross_entropy(logits, labels, reduction="none").numpy()
    assert losses[ignored].tolist() == [0, 0]
    kept = ops.cross_entropy(logits.numpy()[~ignored], LABELS[~ignored])
    assert ops.cross_entropy(logits, labels).item() == pytest.approx(kept.item())
    assert ops.cross_entropy(logits, LABELS, ignore_index=1).item() == pytest.approx(kept.item())
    (dx,) = grad(ops.cross_entropy(logits, labels), [logits])
    assert not dx.numpy()[ignored].any()


def test_axes_after_the_classes_are_more_rows(rng):
    x, labels = rng.normal(size=(2, 4, 3, 5)), rng.integers(0, 4, size=(2, 3, 5))
    rows = np.moveaxis(x, 1, -1).reshape(-1, 4)
    for options in ({}, {"weight": WEIGHT, "label_smoothing": 0.1}):
        found = ops.cross_entropy(x, labels, reduction="none", **options)
        expected = ops.cross_entropy(rows, labels.reshape(-1), reduction="none", **options)
        np.testing.assert_allclose(found.numpy(), expected.numpy().reshape(2, 3, 5), rtol=1e-13)
    one = ops.cross_entropy(x[0, :, 0, 0], labels[0, 0, 0], reduction="none")
    assert one.shape == ()
    assert one.item() == pytest.approx(-log_softmax(rows)[0, labels[0, 0, 0]])


@st.composite
def classifications(draw):
    """Logits, labels and options, some of the labels ignored but not all."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    classes, after = draw(st.integers(1, 6)), tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    shape = (draw(st.integers(1, 5)), *after)
    labels = rng.integers(0, classes, size=shape)
    if draw(st.booleans()):
        labels.reshape(-1)[1:][rng.random(labels.size - 1) < 0.4] = -100
    options = {
        "weight": draw(st.sampled_from([None, rng.uniform(0.2, 2, size=classes)])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
    }
    x = rng.normal(0, 3, size=(shape[0], classes, *after))
    return (np.asfortranarray(x) if draw(st.booleans()) else x), labels, options


@given(classifications())
def test_cross_entropy_is_its_composition(case):
    x, labels, options = case
    given = Tensor.wrap(x).requires_grad_()
    compare_with_composition(lambda x: ops.cross_entropy(x, labels, **options), [given], order=2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "none"},
        {"reduction": "sum", "weight": WEIGHT},
        {"weight": WEIGHT, "label_smoothing": 0.2, "ignore_index": 3},
    ],
)
def test_gradient_of_cross_entropy(logits, options):
    gradcheck(lambda x: ops.cross_entropy(x, LABELS, **options), [logits], order=2)
    compare_with_composition(lambda x: ops.cross_entropy(x, LABELS, **options), [logits], order=3)


@pytest.mark.parametrize("options", [{}, {"reduction": "none", "weight": WEIGHT, "label_smoothing": 0.2}])
def test_gradient_of_cross_entropy_with_probabilities(rng, logits, options):
    q = leaf(rng.dirichlet(np.ones(4), size=6))
    gradcheck(lambda x, q: ops.square(ops.cross_entropy(x, q, **options)), [logits, q], order=2)
    x, q = leaf(rng.normal(size=(2, 4, 3))), leaf(np.moveaxis(rng.dirichlet(np.ones(4), size=(2, 3)), -1, 1))
    gradcheck(lambda x, q: ops.cross_entropy(x, q, **options), [x, q])
    expected = -(q.numpy() * log_softmax(x.numpy())).sum(1)
    np.testing.assert_allclose(ops.cross_entropy(x, q, reduction="none").numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("definition", [False, True])
def test_cross_entropy_far_out(dtype, definition):
    x = Tensor(np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [-np.inf, 0, 0]], dtype), requires_grad=True)
    with composed(definition):
        losses = ops.cross_entropy(x, [0, 1, 2], reduction="none")
        (dx,) = grad(losses, [x], np.ones(3, dtype))
    np.testing.assert_allclose(losses.numpy(), [0, 2e4, math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(dx.numpy(), [[0, 0, 0], [1, -1, 0], [0, 0.5, -0.5]], atol=1e-7)


def test_dtypes_of_cross_entropy(logits):
    x = logits.numpy().astype(np.float32)
    for target in (LABELS, LABELS.astype(np.uint8), LABELS.tolist(), Tensor(LABELS), np.eye(4)[LABELS]):
        for weight in (None, WEIGHT, WEIGHT.tolist(), Tensor(WEIGHT)):
            assert ops.cross_entropy(x, target, weight).dtype == np.float32
    assert ops.cross_entropy([[1.0, 2.0]], [0]).item() == pytest.approx(math.log(1 + math.e))


def test_inputs_are_left_alone(logits):
    x, labels, weight = logits.numpy().copy(), LABELS.copy(), WEIGHT.copy()
    ops.cross_entropy(logits, labels, weight, ignore_index=1, label_smoothing=0.1).backward()
    np.testing.assert_array_equal(logits.numpy(), x)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(weight, WEIGHT)


def test_labels_that_change_later_do_not_change_the_gradient(logits):
    labels = LABELS.copy()
    loss = ops.cross_entropy(logits, labels)
    labels[:] = 0
    np.testing.assert_array_equal(
        grad(loss, [logits])[0].numpy(), grad(ops.cross_entropy(logits, LABELS), [logits])[0].numpy()
    )


# Negative log-likelihood


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "options", [{}, {"weight": WEIGHT}, {"ignore_index": 3}, {"weight": WEIGHT, "ignore_index": 1}]
)
def test_nll_of_log_probabilities_is_cross_entropy(logits, reduction, options):
    found = ops.nll_loss(ops.log_softmax(logits, axis=1), LABELS, reduction=reduction, **options)
    expected = ops.cross_entropy(logits, LABELS, reduction=reduction, **options)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)
    gradcheck(lambda x: ops.square(ops.nll_loss(x, LABELS, reduction=reduction, **options)), [logits], order=2)


def test_nll_of_images(rng):
    x, labels = rng.normal(size=(2, 4, 3)), rng.integers(0, 4, size=(2, 3))
    expected = [[-x[n, labels[n, i], i] for i in range(3)] for n in range(2)]
    assert ops.nll_loss(x, labels, reduction="none").tolist() == expected
    assert ops.nll_loss(x[0, :, 0], labels[0, 0]).item() == expected[0][0]


@pytest.mark.parametrize("loss", CLASSIFIERS)
@pytest.mark.parametrize(
    ("shape", "target", "options", "error", "message"),
    [
        (
            (2, 3),
            [0, 3],
            {},
            ValueError,
            "a class is from 0 to 2, or ignore_index=-100, got 3",
        ),
        ((2, 3), [-1, 0], {}, ValueError, "a class is from 0 to 2, .* got -1"),
        ((2, 3), [0, -100], {"ignore_index": 1}, ValueError, "ignore_index=1, got -100"),
        ((2, 3), [0], {}, ValueError, r"the target has shape \(2,\), .* got \(1,\)"),
        ((2, 3, 4), [0, 0], {}, ValueError, r"the target has shape \(2, 4\), .* got \(2,\)"),
        ((2, 3), [True, False], {}, TypeError, "classes are integers, got a target of bool"),
        ((0, 3), [], {}, ValueError, "no mean, as every target is"),
        ((2, 0), [0, 0], {}, ValueError, r"with C > 0, got \(2, 0\)"),
        ((), 0, {}, ValueError, r"with C > 0, got \(\)"),
        (
            (2, 3),
            [-100, -100],
            {},
            ValueError,
            r"no mean, as every target is ignore_index=-100 or a class of weight 0",
        ),
        ((2, 3), [1, 1], {"weight": [1.0, 0.0, 1.0]}, ValueError, "no mean, as every target is"),
        ((2, 3), [1, 1], {"weight": [1.0, 1.0]}, ValueError, r"weight has shape \(3,\), .* got \(2,\)"),
        ((2, 3), [1, 1], {"reduction": "avg"}, ValueError, "reduction is 'none' or 'mean' or 'sum', got 'avg'"),
    ],
)
def test_what_is_no_classification(loss, shape, target, options, error, message):
    with pytest.raises(error, match=f"{loss.__name__}: .*{message}"):
        loss(np.zeros(shape), np.array(target) if len(np.shape(target)) == 0 or target else np.zeros(0, int), **options)


def test_all_ignored_has_a_sum(logits):
    assert ops.cross_entropy(logits, np.full(6, -100), reduction="sum").item() == 0
    assert ops.nll_loss(logits, np.full(6, -100), reduction="none").tolist() == [0] * 6


@pytest.mark.parametrize("loss", CLASSIFIERS)
@pytest.mark.parametrize("definition", [False, True])
@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0), (0, 3, 4)])
def test_losses_of_nothing(loss, shape, definition):
    x, labels = leaf(np.zeros(shape)), np.zeros((shape[0], *shape[2:]), int)
    with composed(definition):
        assert loss(x, labels, reduction="none").shape == labels.shape
        total = loss(x, labels, reduction="sum")
        assert total.item() == 0
        assert grad(total, [x])[0].shape == shape
    assert ops.cross_entropy(x, np.zeros(shape), reduction="sum").item() == 0


@pytest.mark.parametrize("definition", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_class_that_nobody_expects_may_be_impossible(dtype, definition):
    """Its logit is -inf and its weight 0; smoothing would expect it, but for that. By hand: p = 1/2 for both others."""
    x = Tensor(np.array([[-np.inf, 0, 0], [0, 0, 0]], dtype), requires_grad=True)
    how = {"weight": [0.0, 1.0, 2.0], "label_smoothing": 0.3, "reduction": "none"}
    with composed(definition):
        losses = ops.cross_entropy(x, [1, 0], **how)
        (dx,) = grad(losses, [x], np.ones(2))
    np.testing.assert_allclose(losses.numpy(), [(0.8 + 0.2) * math.log(2), (0.1 + 0.2) * math.log(3)], rtol=1e-6)
    np.testing.assert_allclose(dx.numpy(), [[0, 0.5 - 0.8, 0.5 - 0.2], [0.1, 0.1 - 0.1, 0.1 - 0.2]], atol=1e-7)
    shares = np.array([[0, 0.25, 0.75], [0, 0.5, 0.5]])
    soft = ops.cross_entropy(x, shares, reduction="none")
    np.testing.assert_allclose(soft.numpy(), [math.log(2), math.log(3)], rtol=1e-6)
    np.testing.assert_allclose(grad(soft, [x], np.ones(2))[0].numpy()[0], [0, 0.25, -0.25], atol=1e-7)


@pytest.mark.parametrize("definition", [False, True])
@pytest.mark.parametrize("row", [[np.inf, 0, 1], [np.inf, np.inf, 1], [np.nan, 0, 1], [-np.inf] * 3])
def test_logits_without_differences_give_nan_throughout_as_in_pytorch(row, definition):
    x = leaf([row, [0, 0, 0]])
    with composed(definition):
        losses = ops.cross_entropy(x, [1, 1], reduction="none")
        (dx,) = grad(losses, [x], np.ones(2))
    assert np.isnan(losses.numpy()).tolist() == [True, False]
    assert np.isnan(dx.numpy()).tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("definition", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_logits_of_an_ignored_target_do_not_matter(value, definition):
    x = leaf([[value] * 3, [0, 0, 0]])
    with composed(definition):
        loss = ops.cross_entropy(x, [-100, 1], label_smoothing=0.1)
        (dx,) = grad(loss, [x])
    assert loss.item() == pytest.approx(math.log(3))
    assert dx.numpy()[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("definition", [False, True])
def test_large_equal_logits_share_their_probability(definition):
    """The sum of 1e30 and log 3 is 1e30."""
    x = Tensor(np.full((1, 3), 1e30), requires_grad=True)
    with composed(definition):
        loss = ops.cross_entropy(x, [1])
        (dx,) = grad(loss, [x])
    assert loss.item() == pytest.approx(math.log(3))
    np.testing.assert_allclose(dx.numpy(), [[1 / 3, -2 / 3, 1 / 3]])


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, math.nan])
def test_smoothing_is_a_share(smoothing):
    with pytest.raises(ValueError, match="label_smoothing is a number from 0 to 1"):
        ops.cross_entropy(np.zeros((2, 3)), [0, 1], label_smoothing=smoothing)


def test_floating_point_targets_are_probabilities():
    with pytest.raises(ValueError, match=r"has the shape of the logits, \(2, 3\), got \(2,\); a target of classes"):
        ops.cross_entropy(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(TypeError, match="nll_loss: classes are integers, got a target of float64"):
        ops.nll_loss(np.zeros((2, 3)), np.zeros(2))


@pytest.mark.parametrize("loss", CLASSIFIERS)
def test_logits_are_floating_point(loss):
    with pytest.raises(TypeError, match=f"{loss.__name__}: one floating dtype is needed"):
        loss(np.zeros((2, 3), int), [0, 1])


# Differences


def test_differences_by_hand():
    x, y = leaf([1.0, -2.0, 0.0, 4.0]), np.array([0.0, 0.0, 0.5, 0.0])
    assert ops.mse_loss(x, y, reduction="none").tolist() == [1, 4, 0.25, 16]
    assert ops.l1_loss(x, y, reduction="none").tolist() == [1, 2, 0.5, 4]
    assert ops.huber_loss(x, y, reduction="none").tolist() == [0.5, 1.5, 0.125, 3.5]
    assert ops.huber_loss(x, y, reduction="none", delta=3.0).tolist() == [0.5, 2, 0.125, 7.5]
    assert ops.mse_loss(x, y).item() == 21.25 / 4
    assert ops.l1_loss(x, y, reduction="sum").item() == 7.5


@pytest.mark.parametrize("loss", DIFFERENCES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradient_to_input_and_target(rng, loss, reduction):
    x, y = leaf(rng.normal(0, 2, size=(3, 5))), leaf(rng.random((3, 5)))
    gradcheck(lambda x, y: ops.square(loss(x, y, reduction=reduction)), [x, y], order=2)


def test_slopes_of_huber_where_the_pieces_meet():
    x = leaf([0.0, 0.7, -0.7, 5.0, -5.0])
    (dx,) = grad(ops.huber_loss(x, np.zeros(5), reduction="sum", delta=0.7), [x], create_graph=True)
    assert dx.tolist() == [0, 0.7, -0.7, 0.7, -0.7]
    assert grad(dx, [x], np.ones(5))[0].tolist() == [1, 1, 1, 0, 0]


def test_binary_cross_entropy_by_hand(rng):
    x, y = rng.normal(size=(5, 3)), rng.random((5, 3))
    weight, positive = rng.random((5, 1)), rng.random(3)
    p = 1 / (1 + np.exp(-x))
    each = -weight * (positive * y * np.log(p) + (1 - y) * np.log(1 - p))
    found = ops.binary_cross_entropy_with_logits(x, y, weight, "none", positive)
    np.testing.assert_allclose(found.numpy(), each, rtol=1e-12)
    plain = ops.binary_cross_entropy_with_logits(x, y)
    assert plain.item() == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
    gradcheck(
        lambda x, y, w, p: ops.binary_cross_entropy_with_logits(x, y, w, "none", p),
        [leaf(x), leaf(y), leaf(weight), leaf(positive)],
        order=2,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_far_out(dtype):
    x = Tensor(np.array([1e4, -1e4, 1e4, -1e4, -30], dtype), requires_grad=True)
    losses = ops.binary_cross_entropy_with_logits(x, np.array([1, 0, 0, 1, 0], dtype), reduction="none")
    np.testing.assert_allclose(losses.numpy(), [0, 0, 1e4, 1e4, math.exp(-30)], rtol=1e-6)
    (dx,) = grad(losses, [x], np.ones(5, dtype))
    np.testing.assert_allclose(dx.numpy(), [0, 0, 1, -1, math.exp(-30)], rtol=1e-6)


@pytest.mark.parametrize("loss", DIFFERENCES)
def test_targets_may_be_integers_or_booleans(loss):
    x = Tensor([0.5, 2.0])
    for target in (np.array([0, 1]), np.array([False, True]), [0.0, 1.0]):
        y = loss(x, target)
        assert y.dtype == np.float32
        assert y.item() == loss(x, np.array([0, 1], np.float32)).item()


@pytest.mark.parametrize("loss", DIFFERENCES)
def test_what_is_no_difference(loss):
    name = loss.__name__
    with pytest.raises(ValueError, match=rf"{name}: input and target have one shape, got \(3,\) and \(3, 1\)"):
        loss(np.zeros(3), np.zeros((3, 1)))
    with pytest.raises(ValueError, match=f"{name}: reduction is 'none' or 'mean' or 'sum', got 'max'"):
        loss(np.zeros(3), np.zeros(3), reduction="max")
    with pytest.raises(ValueError, match="mean: an input of shape"):
        loss(np.zeros((0, 3)), np.zeros((0, 3)))


@pytest.mark.parametrize("delta", [0, -1, math.nan])
def test_huber_needs_a_positive_delta(delta):
    with pytest.raises(ValueError, match="huber_loss: delta is positive, got"):
        ops.huber_loss([1.0], [1.0], delta=delta)


def test_probabilities_may_be_rounded():
    tenths = np.zeros((2, 10), np.float32)
    tenths[0, 3] = sum([np.float32(0.1)] * 10)
    tenths[1] = np.float32(0.1)
    assert tenths[0, 3] > 1
    x = np.random.default_rng(0).normal(size=(2, 10))
    losses = ops.cross_entropy(x, tenths, reduction="none").numpy()
    np.testing.assert_allclose(losses, -(tenths * log_softmax(x)).sum(axis=1), rtol=1e-12)
    ops.binary_cross_entropy_with_logits(x.astype(np.float32), tenths)
    ops.cross_entropy(np.zeros((1, 2)), np.array([[1 - 0.9 - 0.1, 1.0]]))  # -3e-17
    for wrong in (1.001, 1 + 3e-6, -3e-6):
        with pytest.raises(ValueError, match="from 0 to 1"):
            ops.cross_entropy(np.zeros((1, 10)), np.full((1, 10), wrong))


def test_ignore_index_is_refused_with_probabilities():
    with pytest.raises(ValueError, match=r"ignore_index is for a target of classes, got 2 with"):
        ops.cross_entropy(np.zeros((1, 3)), np.full((1, 3), 1 / 3), ignore_index=2)
    ops.cross_entropy(np.zeros((1, 3)), np.full((1, 3), 1 / 3), ignore_index=-100)


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_a_class_of_weight_0_does_not_count_towards_nll(value):
    x = leaf([[value, -1.0], [-2.0, -3.0]])
    loss = ops.nll_loss(x, [0, 1], [0.0, 2.0])
    assert loss.item() == 3
    assert grad(loss, [x])[0].tolist() == [[0, 0], [0, -1]]


def test_probabilities_outside_0_to_1_are_refused():
    logits = Tensor(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"binary_cross_entropy_with_logits: .* from 0 to 1, got 7"):
        ops.binary_cross_entropy_with_logits(logits, np.full((1, 3), 7.0))
    with pytest.raises(ValueError, match=r"cross_entropy: .* from 0 to 1, got -1"):
        ops.cross_entropy(logits, np.array([[-1.0, 5.0, 0.0]]))


def test_an_ignored_label_asks_for_no_class_that_is_not_there():
    loss = ops.nll_loss(np.array([[-0.5], [-0.25]]), [-100, 0])
    assert loss.item() == 0.25


def test_a_mean_of_float32_losses_is_added_up_in_float64():
    logits = np.array([[0.0, 2.0**24], [0.0, 0.0], [0.0, 0.0]], np.float32)
    expected = np.float32((2.0**24 + 2 * np.log(2)) / 3)
    assert ops.cross_entropy(logits, np.array([0, 0, 0])).item() == expected
