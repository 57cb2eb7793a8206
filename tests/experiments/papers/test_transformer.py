from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, random
from tinygrad_norm.experiments.papers.transformer import Attention, Encoder


def test_attention_is_that_of_its_formula():
    random.manual_seed(0)
    layer = Attention(6, 2)
    x = np.random.default_rng(0).normal(size=(3, 5, 6)).astype(np.float32)

    def linear(part, a):
        return a @ part.weight.numpy().T + part.bias.numpy()

    query, key, value = (linear(part, x) for part in (layer.query, layer.key, layer.value))
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        scores = np.exp(query[..., head] @ key[..., head].swapaxes(1, 2) / np.sqrt(3))
        heads.append(scores / scores.sum(-1, keepdims=True) @ value[..., head])
    expected = linear(layer.out, np.concatenate(heads, -1))
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("post", [True, False])
def test_where_the_norms_stand(post):
    random.manual_seed(0)
    net = Encoder(40, 8, 2, 3, nn.LayerNorm, post)
    x = Tensor(np.random.default_rng(0).normal(size=(7, 40)).astype(np.float32))
    assert net(x).shape == (7, 10)
    tokens = net.blocks(net.embed(x.reshape(7, 10, 4)) + net.places).numpy()
    spread = tokens.std(-1)
    assert np.allclose(spread, 1, atol=1e-3) == post
    assert isinstance(net.norm, nn.Identity if post else nn.LayerNorm)
