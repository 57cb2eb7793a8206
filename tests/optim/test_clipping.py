from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_norm import capture
from tinygrad_norm.optim import clip_grad_adaptive, clip_grad_norm, clip_grad_value
from tinygrad_norm.tensor import Tensor


def with_gradients(*gradients):
    parameters = [Tensor(np.zeros(np.shape(gradient)), requires_grad=True) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = Tensor(gradient)
    return [*parameters, Tensor([1.0], requires_grad=True)]  # the last has no gradient


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
def test_the_norm_of_all_comes_down_and_the_direction_stays(rng, norm_type, dtype):
    gradients = [rng.normal(size=shape).astype(dtype) for shape in ((3, 4), (5,), ())]
    flat = np.concatenate([gradient.ravel() for gradient in gradients]).astype(np.float64)
    expected = np.abs(flat).max() if norm_type == math.inf else (np.abs(flat) ** norm_type).sum() ** (1 / norm_type)
    parameters = with_gradients(*gradients)
    total = clip_grad_norm(iter(parameters), 0.5, norm_type)
    assert total == pytest.approx(expected, rel=1e-12)
    for parameter, gradient in zip(parameters[:-1], gradients, strict=True):
        assert parameter.grad.dtype == dtype
        np.testing.assert_allclose(parameter.grad.raw, gradient * 0.5 / (expected + 1e-6), rtol=1e-6)
    assert parameters[-1].grad is None
    assert clip_grad_norm(parameters, 1.0, norm_type) == pytest.approx(0.5, rel=1e-5)


def test_a_small_norm_is_left_alone(rng):
    parameters = with_gradients(rng.normal(size=3))
    before = parameters[0].grad
    assert clip_grad_norm(parameters, 100.0) == pytest.approx(np.linalg.norm(before.raw))
    assert parameters[0].grad is before


def test_infinity_only_measures():
    parameters = with_gradients([3.0, 4.0], [math.inf])
    before = parameters[0].grad
    assert clip_grad_norm(parameters[0], math.inf) == 5.0
    assert clip_grad_norm(parameters, math.inf) == math.inf
    assert parameters[0].grad is before


def test_the_old_array_is_left_to_whoever_holds_it():
    parameters = with_gradients([3.0, 4.0])
    held = parameters[0].grad
    clip_grad_norm(parameters, 1.0)
    clip_grad_value(parameters, 0.1)
    np.testing.assert_array_equal(held.raw, [3.0, 4.0])
    np.testing.assert_allclose(parameters[0].grad.raw, [0.1, 0.1])


def test_large_float32_gradients_do_not_overflow():
    parameters = with_gradients(np.full(4, 1e30, np.float32))
    assert clip_grad_norm(parameters, 1.0) == pytest.approx(2e30)
    np.testing.assert_allclose(parameters[0].grad.raw, 0.5, rtol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_shows_or_is_refused(value):
    parameters = with_gradients([value, 1.0], [2.0])
    with pytest.raises(ValueError, match=f"the norm of the gradients is {value}; the gradients were left as they are"):
        clip_grad_norm(parameters, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(parameters[1].grad.raw, [2.0])
    assert not math.isfinite(clip_grad_norm(parameters, 1.0))
    assert np.isnan(parameters[0].grad.raw[0])
    np.testing.assert_array_equal(parameters[1].grad.raw, [math.nan if math.isnan(value) else 0.0])


def test_without_gradients_the_norm_is_0():
    assert clip_grad_norm([Tensor([1.0], requires_grad=True)], 1.0) == 0.0
    assert clip_grad_norm([], 1.0) == 0.0


def test_values_are_brought_into_the_range_and_nan_stays():
    parameters = with_gradients([-3.0, -0.5, 0.25, math.inf, math.nan])
    clip_grad_value(parameters, 0.5)
    np.testing.assert_array_equal(parameters[0].grad.raw, np.array([-0.5, -0.5, 0.25, 0.5, math.nan], np.float32))
    assert parameters[0].grad.dtype == np.float32
    assert parameters[-1].grad is None


def units(array):
    """The gradients or weights of each output, or all, as rows."""
    return array.reshape(1, -1) if array.size == max(array.shape, default=1) else array.reshape(len(array), -1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 4), (4, 2, 3, 3), (5, 1, 1, 1), (5,), (), (1, 6)])
def test_each_unit_is_clipped_by_its_own_weights(shape, dtype, rng):
    parameter = Tensor(rng.normal(size=shape).astype(dtype), requires_grad=True)
    gradient = (rng.normal(size=shape) * 10 ** rng.uniform(-4, 0, (*shape[:1], *[1] * len(shape[1:])))).astype(dtype)
    parameter.grad = Tensor(gradient)
    largest = clip_grad_adaptive(parameter, 0.05)
    expected = []
    for weights, row in zip(units(parameter.raw), units(gradient), strict=True):
        ratio = np.linalg.norm(row) / np.linalg.norm(weights)
        expected.append(ratio)
        row = row * min(1, 0.05 / ratio)
        found = units(parameter.grad.raw)[len(expected) - 1]
        np.testing.assert_allclose(found, row, rtol=1e-5)
    assert largest == pytest.approx(max(expected), rel=1e-5)
    assert parameter.grad.dtype == dtype
    assert clip_grad_adaptive(parameter, 0.05) <= 0.05 * (1 + 1e-6)


def test_weights_of_zeros_count_with_eps():
    parameters = with_gradients([[3.0, 4.0], [0.0, 1e-5]])
    assert clip_grad_adaptive(parameters, 0.1, eps=0.5) == 10
    np.testing.assert_allclose(parameters[0].grad.raw, [[0.03, 0.04], [0, 1e-5]], rtol=1e-6)


def test_adaptive_clipping_leaves_alone_what_is_small_and_measures():
    parameters = with_gradients(np.zeros((2, 3)), np.zeros((0, 3)), [math.nan])
    before = [parameter.grad for parameter in parameters]
    assert math.isnan(clip_grad_adaptive(parameters, math.inf))
    assert clip_grad_adaptive(parameters[:2]) == 0
    assert clip_grad_adaptive([]) == 0
    assert [parameter.grad for parameter in parameters] == before
    clip_grad_adaptive(parameters)
    assert np.isnan(parameters[2].grad.raw).all()


@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_limits_out_of_range(bad):
    parameters = with_gradients([1.0])
    with pytest.raises(ValueError, match="max_norm is a number of at least 0"):
        clip_grad_norm(parameters, bad)
    with pytest.raises(ValueError, match="norm_type is a number above 0"):
        clip_grad_norm(parameters, 1.0, bad)
    with pytest.raises(ValueError, match="clip_value is a number of at least 0"):
        clip_grad_value(parameters, bad)
    with pytest.raises(ValueError, match="clip_grad_adaptive: clipping is a number of at least 0"):
        clip_grad_adaptive(parameters, bad)
    with pytest.raises(ValueError, match="clip_grad_adaptive: eps is a finite number above 0"):
        clip_grad_adaptive(parameters, eps=bad)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value, clip_grad_adaptive])
def test_a_gradient_that_is_an_array_is_refused(clip):
    parameters = with_gradients([3.0], [4.0])
    parameters[1].grad = np.array([4.0])
    with pytest.raises(TypeError, match=r"gradient of parameter 1 is a Tensor, .* got ndarray"):
        clip(parameters, 1.0)
    assert parameters[0].grad.item() == 3.0


def test_a_limit_of_0_takes_everything():
    parameters = with_gradients([3.0, 4.0])
    assert clip_grad_norm(parameters, 0.0) == 5.0
    assert parameters[0].grad.tolist() == [0, 0]
    parameters = with_gradients([3.0, -4.0])
    clip_grad_value(parameters, 0.0)
    assert parameters[0].grad.tolist() == [0, 0]


def test_a_norm_at_the_limit_is_left_alone():
    parameters = with_gradients([3.0, 4.0])
    before = parameters[0].grad
    clip_grad_norm(parameters, 5.0 + 1e-6)
    assert parameters[0].grad is before


@pytest.mark.parametrize("norm_type", [2.0, None])
def test_the_euclidean_norm_is_meant_and_a_norm_that_is_not_finite_passes_if_nothing_is_said(norm_type):
    parameters = with_gradients([3.0, 4.0])
    assert clip_grad_norm(parameters, math.inf, *(() if norm_type is None else (norm_type,))) == 5.0
    assert clip_grad_norm(with_gradients([math.inf]), 1.0) == math.inf


# In a captured step

CLIPS = {
    "norm": lambda parameters: clip_grad_norm(parameters, 1.0),
    "norm, largest": lambda parameters: clip_grad_norm(parameters, 0.4, math.inf),
    "norm, measured": lambda parameters: clip_grad_norm(parameters, math.inf),
    "value": lambda parameters: clip_grad_value(parameters, 0.3),
    "adaptive": lambda parameters: clip_grad_adaptive(parameters, 0.05),
    "adaptive, measured": lambda parameters: clip_grad_adaptive(parameters, math.inf),
}


def clipped_step(clip, dtypes):
    """A function of weights for the gradients, whose parameters have these dtypes; and the parameters."""
    draw = np.random.default_rng(4)
    parameters = [
        Tensor(draw.normal(size=shape).astype(dtype), requires_grad=True)
        for shape, dtype in zip(((3, 4), (5,), ()), dtypes, strict=True)
    ]

    def step(*weights):
        for parameter in parameters:
            parameter.grad = None
        for parameter, weight in zip(parameters, weights, strict=True):
            (parameter * weight).sum().backward()
        return clip(parameters)

    return step, parameters


@pytest.mark.parametrize("dtypes", [(np.float32,) * 3, (np.float32, np.float64, np.float32)])
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_a_captured_step_clips_when_an_eager_one_does(clip, dtypes, rng):
    (step, parameters), (plain, twins) = (clipped_step(clip, dtypes) for _ in range(2))
    fast = capture(plain)
    for size in (1e-3, 1e-3, 1e-3, 10, 1e-3, 10, 0, math.nan, math.inf, 1e-3):  # recorded where nothing is clipped
        weights = [Tensor((rng.normal(size=each.shape) * size).astype(each.dtype)) for each in parameters]
        expected, found = step(*weights), fast(*weights)
        assert type(found) is type(expected)
        np.testing.assert_equal(found, expected)
        for one, other in zip(parameters, twins, strict=True):
            assert one.grad.raw.tobytes() == other.grad.raw.tobytes()
    assert fast.why == ""


def test_a_captured_step_that_decides_on_the_norm_is_eager():
    def clip(parameters):
        return "large" if clip_grad_norm(parameters, 1.0) > 1 else "small"

    step, parameters = clipped_step(clip, (np.float32,) * 3)
    fast = capture(step)
    for size, expected in ((1e-3, "small"), (1e-3, "small"), (1e3, "large"), (1e-3, "small")):
        assert fast(*[Tensor(np.full(each.shape, size, np.float32)) for each in parameters]) == expected
    assert "clip_grad_norm reads elements" in fast.why


def test_a_captured_step_refuses_a_norm_that_is_not_finite():
    step, parameters = clipped_step(lambda given: clip_grad_norm(given, 1.0, 2.0, True), (np.float32,) * 3)
    fast = capture(step)
    weights = [Tensor(np.ones(each.shape, np.float32)) for each in parameters]
    for _ in range(5):
        assert fast(*weights) == pytest.approx(math.sqrt(18))
    assert fast.why == ""
    weights[1] = Tensor(np.full(5, math.nan, np.float32))
    with pytest.raises(ValueError, match="the norm of the gradients is nan; the gradients were left as they are"):
        fast(*weights)
    assert [each.grad.raw.tobytes() == weight.raw.tobytes() for each, weight in zip(parameters, weights, strict=True)]
