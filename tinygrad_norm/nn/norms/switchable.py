"""Switchable norm: the statistics of instance, layer and batch norm, mixed by weights that are learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_norm import ops
from tinygrad_norm.dtypes import Array, DTypeOrNone
from tinygrad_norm.nn.norms.base import DefinedBatchNorm
from tinygrad_norm.tensor import Tensor


def image_and_layer_statistics(xp: Any, x: Any, positions: Any, channels: Any) -> tuple[Any, Any, Any, Any]:
    """Means and variances of each channel of an image, and of the image."""
    image_mean = xp.mean(x, axis=positions, keepdims=True)
    image_var = xp.mean(xp.square(x - image_mean), axis=positions, keepdims=True)
    layer_mean = xp.mean(image_mean, axis=channels, keepdims=True)
    layer_var = xp.mean(image_var + xp.square(image_mean - layer_mean), axis=channels, keepdims=True)
    return image_mean, image_var, layer_mean, layer_var


def switchable_norm(
    x: Any,
    image: Any,
    layer: Any,
    image_v: Any,
    layer_v: Any,
    whole_v: Any,
    weight: Any,
    bias: Any,
    *,
    batch: Any,
    channels: Any,
    positions: Any,
    eps: Any = 1e-5,
) -> Any:
    """weight · (x - mean) / √(var + eps) + bias, with mean and var those of image, layer and whole batch, weighted.

    image and layer weigh the means, of which the whole batch's has the rest of 1, and image_v, layer_v and whole_v the
    variances. A mean of means is taken around one of them, or rounding of the weights would show where it is large.
    """
    xp = x.__array_namespace__()
    image_mean, image_var, layer_mean, layer_var = image_and_layer_statistics(xp, x, positions, channels)
    batch_mean = xp.mean(image_mean, axis=batch, keepdims=True)
    batch_var = xp.mean(image_var + xp.square(image_mean - batch_mean), axis=batch, keepdims=True)
    shift = image * (image_mean - batch_mean) + layer * (layer_mean - batch_mean)
    var = image_v * image_var + layer_v * layer_var + whole_v * batch_var
    return weight * ((x - batch_mean) - shift) / xp.sqrt(var + eps) + bias, batch_mean, batch_var


def switchable_norm_inference(
    x: Any,
    running_mean: Any,
    running_var: Any,
    image: Any,
    layer: Any,
    image_v: Any,
    layer_v: Any,
    whole_v: Any,
    weight: Any,
    bias: Any,
    *,
    channels: Any,
    positions: Any,
    eps: Any = 1e-5,
) -> Any:
    """`switchable_norm` with given statistics of the batch."""
    xp = x.__array_namespace__()
    image_mean, image_var, layer_mean, layer_var = image_and_layer_statistics(xp, x, positions, channels)
    shift = image * (image_mean - running_mean) + layer * (layer_mean - running_mean)
    var = image_v * image_var + layer_v * layer_var + whole_v * running_var
    return weight * ((x - running_mean) - shift) / xp.sqrt(var + eps) + bias


class SwitchableNorm2D(DefinedBatchNorm):
    """Let each place choose its norm: normalize by the statistics of instance, layer and batch norm, mixed.

    mean = Σ w mean_k and var = Σ w' var_k over k of instance, layer and batch, with w and w' the softmax of
    `mean_weight` and `var_weight`, three numbers each, which are learned. Inference takes running statistics of the
    batch, and an image's own for the others.

    Args:
        num_features, eps, momentum, affine, track_running_stats: as in `BatchNorm2D`.

    Source: Luo et al., Differentiable learning-to-normalize via switchable normalization, 2018.

    Example:
        >>> norm = nn.SwitchableNorm2D(3)
        >>> norm(Tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 4)), dtype="float32")).shape
        (2, 3, 4, 4)
        >>> norm.mean_weight
        Tensor([1., 1., 1.], requires_grad=True)
    """

    definition = staticmethod(switchable_norm)
    layouts = ("NCHW",)

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        self.add_parameter("mean_weight", (3,), 1.0, dtype)
        self.add_parameter("var_weight", (3,), 1.0, dtype)

    def shares(self) -> list[Tensor]:
        """Return the shares of instance and layer in the mean, then those of both and the batch in the variance."""
        image, layer, _ = ops.split(ops.softmax(self.mean_weight), 3)
        return [image, layer, *ops.split(ops.softmax(self.var_weight), 3)]

    def compute(self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float) -> Tensor:
        """Normalize by the batch's statistics, or by the running ones, beside those of each image."""
        if own:
            return super().compute(x, running, own, momentum)
        given = (*self.running(x), *self.shares(), *self.affine_parameters())
        return self.derived(x, *given, channels=1, positions=(2, 3), eps=self.eps, definition=switchable_norm_inference)

    def normalize_batch(self, x: Tensor) -> tuple[Tensor, Sequence[Array]]:
        given = (*self.shares(), *self.affine_parameters())
        return self.derived_with_statistics(x, *given, batch=0, channels=1, positions=(2, 3), eps=self.eps)
