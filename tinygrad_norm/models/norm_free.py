"""Residual nets without norms: what stands in the place of each, and how the weights are drawn, in three ways.

A norm keeps signals and gradients of a deep net at one size, and makes a residual branch small beside what it is added
to. Fixup and SkipInit begin with branches that are 0; NF-ResNet scales each branch by constants that are known.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import numpy as np

from tinygrad_norm import nn, ops
from tinygrad_norm.models.parts import draw_weights, he_normal, numbered
from tinygrad_norm.nn import init
from tinygrad_norm.nn.parametrizations import weight_standardization
from tinygrad_norm.nn.parametrize import ParametrizationList
from tinygrad_norm.tensor import Tensor

MakeConv = Callable[..., nn.Conv2D]

ALPHA = 0.2
"""By what an NF block multiplies its branch, so that the variance grows by its square."""
GAMMA = math.sqrt(2 / (1 - 1 / math.pi))
"""By what ReLU is multiplied so that standard normal numbers keep a variance of 1."""


def scalar(value: float) -> nn.Parameter:
    """Return one trained number."""
    return nn.Parameter(np.array(value), dtype=np.float32)


class Shift(nn.Module):
    """Add one trained number, 0 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = scalar(0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class ScaledReLU(nn.Module):
    """γ · relu(x), of variance 1 for standard normal x: γ = √(2 / (1 - 1/π)).

    Source: Brock, De and Smith, Characterizing signal propagation to close the performance gap in unnormalized ResNets,
        2021, section 4.3.
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x) * GAMMA


class Block(nn.Module):
    """Two 3×3 convolutions, and one of 1×1 for what they are added to, where the shape changes."""

    def __init__(self, conv: MakeConv, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride)
        self.conv2 = conv(channels, channels, 3)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.downsample = conv(in_channels, channels, 1, stride)

    @property
    def changes_shape(self) -> bool:
        """Whether there is a convolution beside the branch."""
        return isinstance(self.downsample, nn.Conv2D)


class SkipInitBlock(Block):
    """relu(x + α f(x)), where f is two convolutions, and α is trained, and 0 at first."""

    def __init__(self, conv: MakeConv, in_channels: int, channels: int, stride: int) -> None:
        super().__init__(conv, in_channels, channels, stride)
        self.conv1.activation = "relu"
        self.alpha = scalar(0)

    def forward(self, x: Tensor) -> Tensor:
        return ops.add_relu(self.conv2(self.conv1(x)) * self.alpha, self.downsample(x))


class FixupBlock(Block):
    """relu(x + f(x)), where a trained number is added before each convolution and ReLU of f, and one multiplies it."""

    def __init__(self, conv: MakeConv, in_channels: int, channels: int, stride: int) -> None:
        super().__init__(conv, in_channels, channels, stride)
        self.bias1a, self.bias1b, self.bias2a, self.bias2b = (scalar(0) for _ in range(4))
        self.scale = scalar(1)

    def forward(self, x: Tensor) -> Tensor:
        shifted = x + self.bias1a
        y = ops.relu(self.conv1(shifted) + self.bias1b)
        y = self.conv2(y + self.bias2a) * self.scale + self.bias2b
        return ops.add_relu(y, self.downsample(shifted) if self.changes_shape else x)


class NFBlock(Block):
    """x + α f(x / β), where f begins with its activation, and β is what the standard deviation of x should be.

    Where the shape changes, x is a convolution of x / β activated, and so has variance 1 again.
    """

    def __init__(self, conv: MakeConv, in_channels: int, channels: int, stride: int, beta: float) -> None:
        super().__init__(conv, in_channels, channels, stride)
        self.beta = beta
        self.activation = ScaledReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(x / self.beta)
        shortcut = self.downsample(y) if self.changes_shape else x
        branch: Tensor = self.conv2(self.activation(self.conv1(y)))
        return branch * ALPHA + shortcut

    def extra_repr(self) -> str:
        return f"beta={self.beta:.4g}"


class Parts(ABC):
    """What a residual net is made of: a convolution with what follows it, blocks, a pool; and how it is drawn."""

    bias = True
    """Whether convolutions have one."""

    def conv(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2D:
        """Make a convolution; with stride 1 the size stays."""
        return nn.Conv2D(in_channels, channels, kernel, stride, padding=kernel // 2, bias=self.bias)

    def after_conv(self, channels: int) -> nn.Module:
        """Make what follows the first convolution, which has its channels."""
        return nn.ReLU()

    @abstractmethod
    def block(self, in_channels: int, channels: int, stride: int) -> nn.Module:
        """Make the next block."""

    def pool(self) -> nn.Module:
        """Make what is between the last block and the linear layer."""
        return nn.GlobalAvgPool2D()

    def draw(self, net: nn.Module) -> None:
        """Draw the weights of the convolutions anew, as He et al. 2015, and set their biases to 0.

        By the number of values that make one, so that signals keep their size: here no norm brings them back to it.
        """
        draw_weights(net, nn.Conv2D, partial(he_normal, mode="fan_in"))


class SkipInit(Parts):
    """Each branch is multiplied by a number that begins as 0; all else is as with norms, with biases.

    Source: De and Smith, Batch normalization biases residual blocks towards the identity function in deep networks,
        2020.
    """

    def block(self, in_channels: int, channels: int, stride: int) -> nn.Module:
        return SkipInitBlock(self.conv, in_channels, channels, stride)


class Fixup(Parts):
    """Trained numbers are added and multiply; the last convolution of each branch and the linear layer begin with 0.

    The first convolution of a branch is drawn as He et al. 2015 and divided by √L, where L is the number of branches:
    L^(-1/(2m - 2)) of m = 2 convolutions each. The paper trains the numbers with a tenth of the learning rate.

    Source: Zhang, Dauphin and Ma, Fixup initialization: residual learning without normalization, 2019.
    """

    bias = False

    def after_conv(self, channels: int) -> nn.Module:
        return numbered(Shift(), nn.ReLU())

    def block(self, in_channels: int, channels: int, stride: int) -> nn.Module:
        return FixupBlock(self.conv, in_channels, channels, stride)

    def pool(self) -> nn.Module:
        return numbered(nn.GlobalAvgPool2D(), Shift())

    def draw(self, net: nn.Module) -> None:
        super().draw(net)
        blocks = [module for module in net.modules() if isinstance(module, FixupBlock)]
        for block in blocks:
            block.conv1.weight.replace(block.conv1.weight.raw * np.float32(len(blocks) ** -0.5))
            init.zeros_(block.conv2.weight)
        draw_weights(net, nn.Linear, init.zeros_)


class NFResNet(Parts):
    """Scaled weight standardization, activations scaled by γ, and branches by α = 0.2 and 1/β; gains begin as 1.

    The variance of what a block is given is 1 after a convolution, and grows by α² with each block. Train it with
    adaptive gradient clipping (`optim.clip_grad_adaptive`) where batches or learning rates are large.

    Source: Brock, De and Smith, Characterizing signal propagation to close the performance gap in unnormalized ResNets,
        2021.
    """

    def __init__(self) -> None:
        self.variance = 1.0

    def conv(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2D:
        conv = super().conv(in_channels, channels, kernel, stride)
        weight_standardization(conv, scaled=True)
        return conv

    def after_conv(self, channels: int) -> nn.Module:
        return nn.Identity()  # a block begins with its activation

    def block(self, in_channels: int, channels: int, stride: int) -> nn.Module:
        block = NFBlock(self.conv, in_channels, channels, stride, math.sqrt(self.variance))
        self.variance = (1.0 if block.changes_shape else self.variance) + ALPHA**2
        return block

    def pool(self) -> nn.Module:
        return numbered(ScaledReLU(), nn.GlobalAvgPool2D())

    def draw(self, net: nn.Module) -> None:
        for module in net.modules():
            if isinstance(module, ParametrizationList):
                gain, weight = module.originals()
                init.ones_(gain)
                he_normal(weight)
            elif isinstance(module, nn.Conv2D) and module.bias is not None:
                init.zeros_(module.bias)


NORM_FREE: dict[str, type[Parts]] = {"fixup": Fixup, "skipinit": SkipInit, "nf": NFResNet}
