"""A small encoder of tokens, with its norms after the additions or before the sublayers.

Source: Vaswani et al., Attention is all you need, 2017; Xiong et al., On layer normalization in the transformer
architecture, 2020, figure 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tinygrad_norm import nn, ops, random
from tinygrad_norm.nn import init
from tinygrad_norm.tensor import Tensor

MakeNorm = Callable[[int], nn.Module]
TOKEN = 4
"""How many values of a signal make a token."""


class Attention(nn.Module):
    """Attention of each token (N, tokens, features) to all of its sequence, in a few heads."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(features, features) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, features = x.shape
        split = (batch, tokens, self.heads, features // self.heads)
        query, key, value = (
            layer(x).reshape(split).permute_dims(0, 2, 1, 3) for layer in (self.query, self.key, self.value)
        )
        weights = ops.softmax(query @ ops.matrix_transpose(key) / math.sqrt(split[-1]), -1)
        y: Tensor = self.out((weights @ value).permute_dims(0, 2, 1, 3).reshape(x.shape))
        return y


class Block(nn.Module):
    """Attention, then two linear layers with ReLU between, each added to what it is given.

    Args:
        features: of a token.
        heads: of the attention.
        norm: makes a norm from the number of features.
        post: whether each norm follows the addition, or stands before the sublayer.
    """

    def __init__(self, features: int, heads: int, norm: MakeNorm, post: bool) -> None:
        super().__init__()
        self.attention, self.norm1 = Attention(features, heads), norm(features)
        self.up = nn.Linear(features, features, activation="relu")
        self.down, self.norm2 = nn.Linear(features, features), norm(features)
        self.post = post

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = self.norm1(x + self.attention(x))
            x = self.norm2(x + self.down(self.up(x)))
        else:
            x = x + self.attention(self.norm1(x))
            x = x + self.down(self.up(self.norm2(x)))
        return x


class Encoder(nn.Module):
    """From signals (N, values) to logits (N, 10): tokens of four values, embedded, places added, blocks, their mean.

    Weights are drawn as Glorot and Bengio (2010) do, normal, and biases are 0, as in Xiong et al. Before the mean there
    is a norm more where they stand before the sublayers.

    Args:
        values: the length of a signal, a multiple of four.
        features, heads, blocks: the sizes.
        norm: makes a norm from the number of features.
        post: whether norms follow the additions.
    """

    def __init__(self, values: int, features: int, heads: int, blocks: int, norm: MakeNorm, post: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(TOKEN, features)
        places = random.generator().normal(size=(values // TOKEN, features))
        self.places = nn.Parameter(places, dtype=np.float32)
        self.blocks = nn.Sequential(*[Block(features, heads, norm, post) for _ in range(blocks)])
        self.norm = nn.Identity() if post else norm(features)
        self.head = nn.Linear(features, 10)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                init.xavier_normal_(layer.weight)
                if layer.bias is not None:
                    init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.reshape(len(x), -1, TOKEN)) + self.places
        y: Tensor = self.head(ops.mean(self.norm(self.blocks(tokens)), axis=1))
        return y
