"""What holds for every net: it learns, gradients reach all of it, and it says what it cannot take."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import composed, nn, ops, optim, random
from tinygrad_norm.models import create_model, list_models

NARROW: dict[str, dict[str, object]] = {
    "mlp": {"hidden": (32, 16)},
    "lenet5": {},
    "baseline_cnn": {"width": 0.125, "image_size": 16},
    "alexnet": {"width": 0.125, "image_size": 16},
    "vgg16": {"width": 0.125, "image_size": 17},
    "resnet18": {"width": 0.125, "image_size": 16},
    "efficientnet_b0": {"width": 0.25, "image_size": 16},
    "convnext_tiny": {"width": 0.125, "image_size": 16, "layer_scale": 0.1},
}


def build(name, **options):
    return create_model(name, 4, **{**NARROW[name], **options})


def batch(model, rng, dtype=np.float32, images=8):
    x = rng.normal(size=(images, model.in_channels, model.image_size, model.image_size)).astype(dtype)
    return x, np.arange(images) % 4


def test_every_net_is_here():
    assert [*NARROW] == list_models()


@pytest.mark.parametrize("name", NARROW)
def test_one_batch_is_learned_by_heart(name, rng):
    model = build(name)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | nn.StochasticDepth):
            layer.eval()
    x, target = batch(model, rng)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if losses[-1] < 0.02:
            break
    assert losses[-1] < 0.02, losses
    assert losses[0] > 0.5


@pytest.mark.parametrize("name", NARROW)
def test_a_gradient_reaches_every_parameter(name, rng):
    """In training that of a bias is 0 where the next batch norm takes it away again; in inference none is."""
    model = build(name).astype(np.float64)
    x, _ = batch(model, rng, np.float64)
    for training in (True, False):
        model.train(training).zero_grad()
        y = model(x)
        y.backward(rng.normal(size=y.shape))
        assert all(parameter.grad is not None for parameter in model.parameters())
        largest = {key: np.abs(parameter.grad.raw).max() for key, parameter in model.named_parameters()}
        if training:
            assert all(size > 1e-9 for key, size in largest.items() if not key.endswith(".bias"))
        else:
            assert min(largest.values()) > 0


@pytest.mark.parametrize("name", NARROW)
def test_training_and_inference_differ_where_they_should(name, rng):
    model = build(name)
    x, _ = batch(model, rng)
    before = model.state_dict()
    for _ in range(3):
        training = model(x).raw
    moved = {key for key, array in model.state_dict().items() if not np.array_equal(array, before[key])}
    running = ("running_mean", "running_var", "num_batches_tracked")
    assert moved == {key for key in before if key.endswith(running)}
    assert bool(moved) == (name != "convnext_tiny")
    state = model.eval().state_dict()
    inference = model(x).raw
    assert np.abs(training - inference).max() > 1e-3 * np.abs(inference).max()
    np.testing.assert_array_equal(model(x).raw, inference)
    # In inference each image is by itself, whatever the batch
    np.testing.assert_allclose(model(x[:1]).raw, inference[:1], rtol=1e-4, atol=1e-5 * np.abs(inference).max())
    assert all(np.array_equal(array, state[key]) for key, array in model.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["batch", "layer", "group", "instance", "rms"])
def test_a_whole_resnet_fused_is_the_resnet_composed(norm, training, rng):
    model = create_model("resnet18", 3, norm=norm, width=0.0625, image_size=11).astype(np.float64).train(training)
    for parameter in model.parameters():
        parameter.raw = parameter.raw + 0.1 * rng.normal(size=parameter.shape)
    state = model.state_dict()
    x, cotangent = rng.normal(size=(3, 3, 11, 11)), rng.normal(size=(3, 3))

    def run():
        model.load_state_dict(state)
        model.zero_grad()
        y = model(x)
        y.backward(cotangent)
        gradients = {key: parameter.grad.raw for key, parameter in model.named_parameters()}
        return {"logits": y.raw, **gradients, **{key: buffer.raw for key, buffer in model.named_buffers()}}

    fused = run()
    with composed():
        expected = run()
    assert fused.keys() == expected.keys()
    largest = max(float(np.abs(array).max()) for array in expected.values())
    for key, array in expected.items():
        np.testing.assert_allclose(fused[key], array, rtol=1e-8, atol=1e-11 * largest, err_msg=key)


@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_tiny"])
def test_blocks_are_left_out_more_often_the_deeper_they_are(name):
    model = create_model(name, width=0.125)
    rates = [layer.p for layer in model.modules() if isinstance(layer, nn.StochasticDepth)]
    steps, last = {"efficientnet_b0": (16, 0.2 * 15 / 16), "convnext_tiny": (18, 0.1)}[name]
    np.testing.assert_allclose(rates, np.linspace(0, last, steps))


def test_the_same_seed_gives_the_same_net():
    def made():
        random.manual_seed(3)
        return build("resnet18").state_dict()

    first, second = made(), made()
    assert all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NARROW)
def test_wrong_channels_are_named(name):
    model = build(name)
    size = model.image_size
    message = rf"{type(model).__name__}: images are \(N, 3, .*, got"
    with pytest.raises(ValueError, match=message):
        model(np.ones((2, 1, size, size), np.float32))
    with pytest.raises(ValueError, match=f"{message}.*the channels come before height and width"):
        model(np.ones((2, size, size, 3), np.float32))
    with pytest.raises(ValueError, match=message):
        model(np.ones((3, size, size), np.float32))
    with pytest.raises(TypeError, match="Tensor or a NumPy array, got list"):
        model([1.0])


@pytest.mark.parametrize("name", NARROW)
def test_small_images_are_refused_or_fit(name):
    """The least size that a net names is enough for it, and one pixel less is refused in the making and the call."""
    smallest = build(name).smallest
    options = {"norm": "none"} if name == "mlp" else {}  # a net for one pixel has no use for them
    model = build(name, image_size=smallest, **options)
    assert np.isfinite(model(np.ones((2, 3, smallest, smallest), np.float32)).raw).all()
    if smallest > 1:
        with pytest.raises(ValueError, match=f"image_size is an integer of at least {smallest}, got"):
            build(name, image_size=smallest - 1)
    with pytest.raises(ValueError, match=r"images are \(N, 3, .*(image_size=|pixels or more)"):
        model(np.ones((2, 3, smallest, smallest - 1), np.float32))


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "efficientnet_b0", "convnext_tiny"])
@pytest.mark.parametrize("small", [True, False])
def test_instance_norm_sees_two_pixels_or_says_so(name, small):
    width = {"efficientnet_b0": 0.25, "vgg16": 0.02}.get(name, 0.0625)
    options = {"norm": "instance", "small_images": small, "width": width}
    smallest = create_model(name, **options).smallest
    x = np.random.default_rng(0).normal(size=(1, 3, smallest, smallest)).astype(np.float32)
    assert np.isfinite(create_model(name, image_size=smallest, **options)(x).raw).all()
