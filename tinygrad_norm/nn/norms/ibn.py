"""IBN: a part of the channels by instance norm, the others by batch norm."""

from __future__ import annotations

from typing import Any

from tinygrad_norm import ops
from tinygrad_norm.checks import Range, check_integer, check_number
from tinygrad_norm.derivation import builtin
from tinygrad_norm.dtypes import DTypeOrNone
from tinygrad_norm.nn.normalization import BatchNorm2D, InstanceNorm2D, Normalization
from tinygrad_norm.tensor import Tensor

_PART = Range("a number above 0 and below 1", lambda value: 0 < value < 1)


class IBN(Normalization):
    """Normalize the first ⌊ratio C⌋ channels by instance norm, which forgets style, and the others by batch norm.

    Args:
        num_features: C.
        ratio: the part of the channels that instance norm has.
        eps, momentum: those of both, as in `BatchNorm2D`.

    Raises:
        ValueError: an argument is out of range, or one of the two would have no channel.

    State: that of `IN`, an InstanceNorm2D with weight and bias, and of `BN`, a BatchNorm2D, under the authors' names.

    Source: Pan et al., Two at once: enhancing learning and generalization capacities via IBN-Net, 2018.

    Example:
        >>> norm = nn.IBN(8)
        >>> norm.IN.num_features, norm.BN.num_features
        (4, 4)
    """

    definition = staticmethod(builtin.normalize)
    layouts = ("NCHW",)
    num_features: int
    ratio: float = 0.5
    eps: float = 1e-5
    momentum: float | None = 0.1

    def __post_init__(self, dtype: DTypeOrNone) -> None:
        channels = check_integer("IBN: num_features", self.num_features, 2)
        self.half = int(channels * check_number("IBN: ratio", self.ratio, _PART))
        if not self.half:
            raise ValueError(f"IBN: ratio leaves instance norm a channel, got {self.ratio} of {channels}")
        self._make((channels,), False, False, dtype)
        options: dict[str, Any] = {"fused": self.fused, "dtype": dtype}
        self.IN = InstanceNorm2D(self.half, self.eps, affine=True, **options)
        self.BN = BatchNorm2D(channels - self.half, self.eps, self.momentum, **options)

    def reset_parameters(self) -> None:
        """Reset both parts."""
        self.IN.reset_parameters()
        self.BN.reset_parameters()

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize each part by its norm, with the activation that is this layer's now."""
        self.IN.activation = self.BN.activation = self.activation
        return ops.concat([self.IN(x[:, : self.half]), self.BN(x[:, self.half :])], 1)
