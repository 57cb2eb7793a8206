from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, ops

LAYERS = {  # id: the layer, the op, its arguments
    "max": (nn.MaxPool2D(2), ops.max_pool2d, (2,)),
    "max, all": (nn.MaxPool2D((3, 2), 2, (1, 0), 2, True), ops.max_pool2d, ((3, 2), 2, (1, 0), 2, True)),
    "average": (nn.AvgPool2D(3), ops.avg_pool2d, (3,)),
    "average, all": (nn.AvgPool2D(2, (1, 2), 1, True, False, 3), ops.avg_pool2d, (2, (1, 2), 1, True, False, 3)),
    "adaptive": (nn.AdaptiveAvgPool2D((3, None)), ops.adaptive_avg_pool2d, ((3, None),)),
    "nearest": (nn.Upsample(scale_factor=2), ops.interpolate, (None, 2)),
    "bilinear": (nn.Upsample((4, 5), None, "bilinear", True), ops.interpolate, ((4, 5), None, "bilinear", True)),
}


@pytest.mark.parametrize(("layer", "op", "arguments"), LAYERS.values(), ids=LAYERS)
def test_is_the_op_with_its_arguments(layer, op, arguments, rng):
    x = Tensor(rng.normal(size=(2, 3, 7, 8)).astype(np.float32))
    np.testing.assert_array_equal(layer(x).numpy(), op(x, *arguments).numpy())
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}


def test_global_averages(rng):
    x = rng.normal(size=(2, 3, 5, 4))
    np.testing.assert_allclose(nn.GlobalAvgPool2D()(Tensor(x)).numpy(), x.mean(axis=(2, 3)), rtol=1e-13)
    kept = nn.GlobalAvgPool2D(keepdims=True)(Tensor(x))
    np.testing.assert_allclose(kept.numpy(), x.mean(axis=(2, 3), keepdims=True), rtol=1e-13)
    assert nn.GlobalAvgPool2D()(Tensor(x[0])).shape == (3,)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 0, 4), (1, 2, 3, 4, 5)])
def test_global_averages_need_images(shape):
    model = nn.Sequential(nn.GlobalAvgPool2D())
    with pytest.raises(ValueError, match=r"GlobalAvgPool2D in .*0: .*\(N, C, H, W\) or \(C, H, W\), not empty, got"):
        model(Tensor(np.ones(shape)))


WRONG = [
    (
        lambda: nn.MaxPool2D(0),
        ValueError,
        "MaxPool2D: kernel_size is an integer of at least 1, or one for height and one for width, got 0",
    ),
    (lambda: nn.MaxPool2D(2, padding=2), ValueError, "MaxPool2D: padding is at most half of kernel_size"),
    (lambda: nn.MaxPool2D("2"), TypeError, "MaxPool2D: kernel_size is an integer"),
    (lambda: nn.MaxPool2D(2, dilation=0), ValueError, "MaxPool2D: dilation is an integer of at least 1"),
    (lambda: nn.AvgPool2D(2, stride=0), ValueError, "AvgPool2D: stride is an integer of at least 1"),
    (lambda: nn.AvgPool2D(2, divisor_override=0), ValueError, "AvgPool2D: divisor_override is not 0"),
    (lambda: nn.MaxPool2D(2, ceil_mode="no"), TypeError, "MaxPool2D: ceil_mode is True or False, got 'no'"),
    (lambda: nn.AvgPool2D(2, ceil_mode="no"), TypeError, "AvgPool2D: ceil_mode is True or False, got 'no'"),
    (lambda: nn.AvgPool2D(2, count_include_pad=1), TypeError, "AvgPool2D: count_include_pad is True or False"),
    (lambda: nn.AdaptiveAvgPool2D((1, 0)), ValueError, "AdaptiveAvgPool2D: output_size is an integer of at least 1"),
    (lambda: nn.AdaptiveAvgPool2D((1, 2, 3)), TypeError, "AdaptiveAvgPool2D: output_size is an integer"),
    (lambda: nn.Upsample(), ValueError, "Upsample: either size or scale_factor is given"),
    (lambda: nn.Upsample(2, mode="cubic"), ValueError, "Upsample: mode is 'nearest' or 'bilinear', got 'cubic'"),
    (lambda: nn.Upsample(scale_factor=-1), ValueError, "Upsample: scale_factor is positive"),
    (lambda: nn.MaxPool2D(kernel=2), TypeError, "MaxPool2D has no option 'kernel' .*did you mean kernel_size"),
]


@pytest.mark.parametrize(("make", "error", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_refuses_when_it_is_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_repr():
    assert repr(nn.MaxPool2D(2)) == "MaxPool2D(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"
    assert repr(nn.AvgPool2D(3, 1)) == (
        "AvgPool2D(kernel_size=3, stride=1, padding=0, ceil_mode=False, count_include_pad=True)"
    )
    assert repr(nn.AdaptiveAvgPool2D((1, 2))) == "AdaptiveAvgPool2D(output_size=(1, 2))"
    assert repr(nn.GlobalAvgPool2D()) == "GlobalAvgPool2D()"
    assert repr(nn.GlobalAvgPool2D(keepdims=True)) == "GlobalAvgPool2D(keepdims=True)"
    assert repr(nn.Upsample(scale_factor=2)) == "Upsample(scale_factor=2, mode='nearest', align_corners=False)"


def test_global_averages_of_no_images_and_of_one():
    assert nn.GlobalAvgPool2D()(Tensor(np.ones((0, 3, 4, 5)))).shape == (0, 3)
    assert nn.GlobalAvgPool2D(keepdims=True)(Tensor(np.ones((3, 4, 5)))).shape == (3, 1, 1)
    for shape in ((2, 0, 4, 5), (2, 3, 0, 5), (3, 4, 0), (3, 4), (1, 2, 3, 4, 5)):
        with pytest.raises(ValueError, match="GlobalAvgPool2D: the input has shape"):
            nn.GlobalAvgPool2D()(np.ones(shape))
