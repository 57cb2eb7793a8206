from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from tinygrad_norm import Tensor, manual_seed, nn, no_grad, ops, optim
from tinygrad_norm.data import load
from tinygrad_norm.models import create_model
from tinygrad_norm.models.norm_free import ALPHA, NORM_FREE, FixupBlock, NFBlock, NFResNet, ScaledReLU
from tinygrad_norm.models.norms import Norms
from tinygrad_norm.models.resnet import WithNorms
from tinygrad_norm.nn.normalization import Normalization


def narrow(way, **options):
    options = {"width": 0.125, "image_size": 8, **options}
    return create_model("resnet18", 10, 1, norm_free=way, **options)


def deep(parts, blocks=24):
    """A net of many blocks of one shape."""
    layers = [parts.block(8, 8, 1) for _ in range(blocks)]
    net = nn.Sequential(parts.conv(1, 8, 3), parts.after_conv(8), *layers, parts.pool(), nn.Linear(8, 10))
    parts.draw(net)
    return net


@pytest.fixture(scope="module")
def digits():
    return load("digits", "train", image_size=8)


@pytest.mark.parametrize("way", NORM_FREE)
@pytest.mark.parametrize("options", [{}, {"small_images": False, "image_size": 32}])
def test_there_is_no_norm_and_the_shapes_are_those_with_norms(way, options, rng):
    net = narrow(way, **options)
    assert not any(isinstance(module, Normalization) for module in net.modules())
    size = net.image_size
    with no_grad():
        assert net(rng.normal(size=(2, 1, size, size)).astype("float32")).shape == (2, 10)
        assert net(np.zeros((0, 1, size, size), "float32")).shape == (0, 10)
    usual = create_model("resnet18", 10, 1, width=0.125, **({"image_size": 8} | options))
    assert [name for name, _ in net.named_children()] == [name for name, _ in usual.named_children()]


@pytest.mark.parametrize("way", NORM_FREE)
def test_gradients_reach_what_begins_as_no_zero_and_a_state_is_loaded(way, rng):
    net, other = narrow(way), narrow(way)
    for parameter in net.parameters():
        parameter.raw[...] = 0.3 if parameter.ndim == 0 else 0.3 * rng.normal(size=parameter.shape)
    x = rng.normal(size=(2, 1, 8, 8)).astype("float32")
    net(x).square().sum().backward()
    assert [name for name, each in net.named_parameters() if not np.abs(each.grad.numpy()).max() > 0] == []
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other(x).numpy(), net(x).numpy())
    np.testing.assert_array_equal(copy.deepcopy(net)(x).numpy(), net(x).numpy())


def test_fixup_begins_with_logits_of_0_and_branches_of_0(rng):
    net = narrow("fixup")
    x = rng.normal(size=(4, 1, 8, 8)).astype("float32")
    np.testing.assert_array_equal(net(x).numpy(), np.zeros((4, 10)))
    blocks = [module for module in net.modules() if isinstance(module, FixupBlock)]
    assert len(blocks) == 8
    y = Tensor(rng.normal(size=(2, 8, 5, 5)).astype("float32"))
    np.testing.assert_array_equal(blocks[0](y).numpy(), np.maximum(y.numpy(), 0))
    loss = ops.cross_entropy(net(x), np.arange(4))
    assert loss.item() == pytest.approx(math.log(10), rel=1e-6)


def test_fixup_draws_the_first_convolutions_smaller_by_the_root_of_the_number_of_branches():
    manual_seed(0)
    block = create_model("resnet18", width=0.5, norm_free="fixup").layer2[0]
    fan_in = math.prod(block.conv1.weight.shape[1:])
    assert block.conv1.weight.numpy().std() == pytest.approx(math.sqrt(2 / fan_in / 8), rel=0.02)
    assert not block.conv2.weight.numpy().any()


def test_fixup_computes_what_the_paper_draws(rng):
    """Figure 1: a bias before each convolution and activation, a multiplier and a bias at the end of the branch."""
    block = NORM_FREE["fixup"]().block(3, 4, 2)
    for parameter in block.parameters():
        parameter.raw[...] = rng.normal(size=parameter.shape)
    x = rng.normal(size=(2, 3, 6, 6)).astype("float32")
    named = {name: parameter.numpy() for name, parameter in block.named_parameters()}
    y = ops.conv2d(x + named["bias1a"], named["conv1.weight"], None, 2, 1).numpy()
    y = np.maximum(y + named["bias1b"], 0) + named["bias2a"]
    y = ops.conv2d(y, named["conv2.weight"], None, 1, 1).numpy() * named["scale"] + named["bias2b"]
    y = y + ops.conv2d(x + named["bias1a"], named["downsample.weight"], None, 2).numpy()
    np.testing.assert_allclose(block(Tensor(x)).numpy(), np.maximum(y, 0), rtol=1e-4, atol=1e-4)


def test_skipinit_begins_as_the_identity_and_its_numbers_learn(rng):
    block = NORM_FREE["skipinit"]().block(4, 4, 1)
    x = rng.normal(size=(2, 4, 5, 5)).astype("float32")
    y = block(Tensor(x))
    np.testing.assert_array_equal(y.numpy(), np.maximum(x, 0))
    (y * rng.normal(size=y.shape).astype("float32")).sum().backward()
    assert abs(block.alpha.grad.item()) > 1e-3
    block.alpha.raw[...] = 0.5
    branch = ops.conv2d(np.maximum(ops.conv2d(x, block.conv1.weight, block.conv1.bias, 1, 1).numpy(), 0),
                        block.conv2.weight, block.conv2.bias, 1, 1).numpy()  # fmt: skip
    np.testing.assert_allclose(block(Tensor(x)).numpy(), np.maximum(x + 0.5 * branch, 0), rtol=1e-5, atol=1e-6)


def test_the_activation_keeps_the_variance_of_normal_numbers(rng):
    x = rng.normal(size=1_000_000)
    assert ScaledReLU()(Tensor(x)).numpy().var() == pytest.approx(1, rel=0.01)


def test_the_variance_of_nf_blocks_grows_by_alpha_squared_each():
    """Var(x) after k blocks is 1 + k α²; without β it would grow by a factor, to 1.6 after twelve."""
    found = []
    for seed in range(4):
        manual_seed(seed)
        parts = NFResNet()
        blocks = [parts.block(64, 64, 1) for _ in range(12)]
        x = Tensor(np.random.default_rng(seed).normal(size=(4, 64, 12, 12)).astype("float32"))
        variances, branches = [], []
        for number, block in enumerate(blocks):
            block.conv1.padding_mode = block.conv2.padding_mode = "circular"  # zeros at the border have no variance
            assert block.beta == pytest.approx(math.sqrt(1 + number * ALPHA**2))
            with no_grad():
                y = block(x)
            branches.append(((y.numpy() - x.numpy()) / ALPHA).var())
            x = y
            variances.append(x.numpy().var())
        found.append([variances, branches])
    variances, branches = np.mean(found, axis=0)
    np.testing.assert_allclose(variances, 1 + ALPHA**2 * np.arange(1, 13), rtol=0.04)
    np.testing.assert_allclose(branches, 0.95, atol=0.15)
    assert branches[-4:].mean() / branches[:4].mean() < 1.1


def test_the_variance_begins_anew_where_the_shape_changes(rng):
    manual_seed(0)
    net = create_model("resnet18", width=0.25, norm_free="nf")
    betas = [block.beta for block in net.modules() if isinstance(block, NFBlock)]
    grown = [math.sqrt(1 + k * ALPHA**2) for k in range(3)]
    assert betas == pytest.approx([1, grown[1], *[grown[2], grown[1]] * 3])
    seen = []
    for number in range(1, 5):
        net.get_submodule(f"layer{number}").register_forward_hook(lambda _, __, y: seen.append(y.numpy().var()))
    with no_grad():
        net(rng.normal(size=(4, 3, 32, 32)).astype("float32"))
    assert 0.6 < min(seen) < max(seen) < 1.2


@pytest.mark.parametrize("way", NORM_FREE)
def test_signals_and_gradients_keep_their_size_through_many_blocks(way):
    """A block without a norm doubles the variance: 24 of them make losses of hundreds."""

    def sizes(parts):
        manual_seed(0)
        net, x = deep(parts), np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype("float32")
        first = net[:2](x).detach().requires_grad_()
        last = net[2:26](first)
        cotangent = Tensor(np.random.default_rng(1).normal(size=last.shape).astype("float32"))
        (last * cotangent).sum().backward()
        before, after, back, seed = (float(np.linalg.norm(t.numpy())) for t in (first, last, first.grad, cotangent))
        return after / before, back / seed

    signal, gradient = sizes(NORM_FREE[way]())
    assert 0.3 < signal < 3
    assert 0.3 < gradient < 3
    signal, gradient = sizes(WithNorms(Norms("none")))
    assert signal > 30
    assert gradient > 30


@pytest.mark.parametrize("way", NORM_FREE)
def test_one_batch_is_learned_by_heart(way, rng):
    manual_seed(0)
    net = narrow(way)
    x, target = rng.normal(size=(8, 1, 8, 8)).astype("float32"), np.arange(8)
    optimizer, losses = optim.Adam(net.parameters(), lr=1e-2), []
    for _ in range(120):
        optimizer.zero_grad()
        loss = ops.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if losses[-1] < 0.05:
            break
    assert losses[-1] < 0.05, losses


def test_nf_learns_digits_faster_than_a_net_with_nothing_in_the_place_of_norms(digits):
    def after_some_steps(seed, **options):
        manual_seed(seed)
        net = create_model("resnet18", 10, 1, width=0.125, image_size=8, **options)
        optimizer, losses = optim.SGD(net.parameters(), lr=0.06, momentum=0.9), []
        for step in range(50):
            chosen = np.random.default_rng(step).permutation(len(digits))[:64]
            loss = ops.cross_entropy(net(Tensor(digits.inputs[chosen])), digits.targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optim.clip_grad_adaptive(net.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
        return np.mean(losses[-10:])

    ours = [after_some_steps(seed, norm_free="nf") for seed in range(2)]
    bare = [after_some_steps(seed, norm="none") for seed in range(2)]
    assert max(ours) < 1
    assert np.mean(ours) < np.mean(bare) - 0.3


def test_what_cannot_be_asked_for():
    with pytest.raises(ValueError, match=r"ResNet18: norm_free is 'fixup' or .*, got 'fixpu'; did you mean fixup\?"):
        create_model("resnet18", norm_free="fixpu")
    with pytest.raises(ValueError, match="norm_free='nf' takes no norm, got norm='layer'"):
        create_model("resnet18", norm="layer", norm_free="nf")
