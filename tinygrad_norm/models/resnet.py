"""ResNet-18: blocks that add to what they are given."""

from __future__ import annotations

from tinygrad_norm import nn, ops
from tinygrad_norm.checks import check_choice
from tinygrad_norm.models.norm_free import NORM_FREE, Parts
from tinygrad_norm.models.norms import Norms, needs_positions
from tinygrad_norm.models.parts import ImageClassifier, conv_norm, draw_weights, he_normal, numbered, widened
from tinygrad_norm.tensor import Tensor

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels and stride of each stage of two blocks."""


class BasicBlock(nn.Module):
    """relu(x + f(x)), where f is two 3×3 convolutions with norms; x is brought to the shape of f(x) where they differ.

    Input (N, in_channels, H, W), output (N, channels, ⌈H / stride⌉, ⌈W / stride⌉).

    Source: He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2016, figure 2.
    """

    followed_by = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, in_channels: int, channels: int, stride: int, norms: Norms) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(in_channels, channels, 3, stride, padding=1, bias=norms.bias)
        self.bn1 = norms(channels, "relu")
        self.conv2 = nn.Conv2D(channels, channels, 3, padding=1, bias=norms.bias)
        self.bn2 = norms(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.downsample = numbered(*conv_norm(in_channels, channels, 1, norms, activation=None, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        y = self.bn2(self.conv2(y))
        return ops.add_relu(y, self.downsample(x))


class WithNorms(Parts):
    """The parts of a net with norms, or with nothing in their places."""

    def __init__(self, norms: Norms) -> None:
        self.norms, self.bias = norms, norms.bias

    def after_conv(self, channels: int) -> nn.Module:
        return self.norms(channels, "relu")

    def block(self, in_channels: int, channels: int, stride: int) -> nn.Module:
        return BasicBlock(in_channels, channels, stride, self.norms)

    def draw(self, net: nn.Module) -> None:
        draw_weights(net, nn.Conv2D, he_normal)


class ResNet18(ImageClassifier):
    """A convolution, four stages of two blocks, the average over all pixels, and one linear layer.

    ImageNet form: (N, 3, 224, 224) → 64×112×112 → 64×56×56 → 128×28×28 → 256×14×14 → 512×7×7 → classes; it is
    torchvision's `resnet18`, with 11,689,512 parameters at 1,000 classes.
    Small form: a stem of 3×3 with stride 1 and no pool, (N, C, 32, 32) → 64×32×32 → 64×32×32 → 128×16×16 → 256×8×8 →
    512×4×4 → classes; 11,173,962 parameters with 3 channels and 10 classes.

    Args:
        num_classes, in_channels: of the images.
        norm, norm_momentum: see `Norms`. Whatever the norm, its layers are called bn1, bn2.
        norm_free: how to do without, in blocks made for that: "fixup", "skipinit" or "nf" (see `models.norm_free`).
        small_images: the small form, for 8 pixels or more, or the ImageNet form, for 32 or more; with instance norm
            or IBN, whose last layer needs two pixels, 9 and 33.
        image_size: 32 in the small form, 224 in the other, unless given.
        width: multiplies the channels.

    Source: He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2016.

    Example:
        >>> net = models.ResNet18(width=0.125, norm="layer").eval()
        >>> net(ops.ones((2, 3, 32, 32))).shape
        (2, 10)
    """

    in_order = ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc")
    followed_by = (("conv1", "bn1"),)
    width: float = 1.0
    norm_free: str | None = None

    def __post_init__(self) -> None:
        if self.norm_free is not None:
            check_choice("ResNet18: norm_free", self.norm_free, NORM_FREE)
            if self.norm not in ("batch", "none"):  # "batch" also where nobody said so
                raise ValueError(f"ResNet18: norm_free={self.norm_free!r} takes no norm, got norm={self.norm!r}")
            self.norm = "none"
        norms, _ = self.prepare((8 if self.small_images else 32) + needs_positions(self.norm))
        channels = widened(64, self.width)
        kernel, stride = (3, 1) if self.small_images else (7, 2)
        self._parts = parts = WithNorms(norms) if self.norm_free is None else NORM_FREE[self.norm_free]()
        self.conv1 = parts.conv(self.in_channels, channels, kernel, stride)
        self.bn1 = parts.after_conv(channels)
        self.maxpool = nn.Identity() if self.small_images else nn.MaxPool2D(3, 2, padding=1)
        for number, (wide, stride) in enumerate(STAGES, 1):
            before, channels = channels, widened(wide, self.width)
            stage = nn.Sequential(parts.block(before, channels, stride), parts.block(channels, channels, 1))
            setattr(self, f"layer{number}", stage)
        self.avgpool = parts.pool()
        self.fc = nn.Linear(channels, self.num_classes)
        self.reset_weights()

    def reset_weights(self) -> None:
        """Draw the weights of the convolutions anew, as He et al. 2015 or as the way without norms has it."""
        self._parts.draw(self)
