"""Ghost batch norm: batch norm of each part of a large batch by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import Any

import numpy as np

from tinygrad_norm import ops
from tinygrad_norm.checks import check_integer
from tinygrad_norm.dtypes import Array, DTypeOrNone
from tinygrad_norm.launch import late, launch
from tinygrad_norm.nn.normalization import BatchNorm
from tinygrad_norm.ops.arguments import shape_dtypes_of
from tinygrad_norm.ops.normalization import BatchNorm as BatchNormOp
from tinygrad_norm.ops.normalization import NormSpec, move, norm_spec, norm_with_running
from tinygrad_norm.tensor import Tensor


class GhostBatchNorm(BatchNorm):
    """Batch norm of each ghost, that is `ghost_size` images that follow each other, by its own mean and variance.

    So a large batch is as noisy to the net as small ones are. Images left at the end are a smaller ghost. The
    running statistics move from ghost to ghost, by `momentum` each time; with momentum=None by the average over the
    batch's ghosts, weighed by their images. Inference is batch norm's, and so is training where one ghost is the batch.

    Args:
        num_features, eps, momentum, affine, track_running_stats: as in `BatchNorm2D`.
        ghost_size: how many images are a ghost.

    Raises:
        ValueError: also, in training, where a ghost has one value per channel.

    Source: Hoffer, Hubara and Soudry, Train longer, generalize better: closing the generalization gap in large batch
        training of neural networks, 2017.
    """

    _infers_affinely = BatchNorm._infers_affinely
    _: KW_ONLY
    ghost_size: int = 32

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        self.ghost_size = check_integer(f"{type(self).__name__}: ghost_size", self.ghost_size, 1)

    def compute(self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float) -> Tensor:
        """Normalize each ghost by its own statistics, or all by the running ones."""

        def normalize(_: NormSpec) -> tuple[Tensor, Sequence[Array]]:
            images = x.shape[0]
            rest = images % self.ghost_size
            parts = [x[: images - rest], x[images - rest :]] if 0 < rest < images else [x]
            found = [self.normalize_ghosts(part) for part in parts]
            if running[0] is not None and momentum:
                means, variances, sizes = zip(*(each for _, each in found), strict=True)
                mean, var, total = launch(
                    _of_ghosts, means, variances, sizes, math.prod(x.shape[2:]), momentum, self.momentum is None
                )
                move(running, [mean, var], late(float, total))
            return ops.concat([y for y, _ in found]) if len(found) > 1 else found[0][0], ()

        affine = (self.weight, self.bias)
        return norm_with_running("batch_norm", x, running, affine, own, momentum, self.eps, self.activation, normalize)

    def normalize_ghosts(self, x: Tensor) -> tuple[Tensor, tuple[Array, Array, int]]:
        """Normalize ghosts of one size; return y, of each ghost the mean and the variance, and the size."""
        size = min(x.shape[0], self.ghost_size)
        (shape, dtype), *affine = shape_dtypes_of(x, self.weight, self.bias)
        one = norm_spec("batch_norm", None, self.eps, self.activation, True, ((size, *shape[1:]), dtype), *affine)
        ghosts, op = x.shape[0] // size, BatchNormOp()
        spec: Any = {
            **one,
            "axes": tuple(axis + 1 for axis in one["axes"]),
            "view": (ghosts, *one["view"]),
            "affine": (1, *one["affine"]),
        }
        y = op(x, self.weight, self.bias, **spec)
        mean, var = (each.reshape(ghosts, -1) for each in op.statistics)
        return y, (mean, var, size)


def _of_ghosts(
    means: Sequence[Array],
    variances: Sequence[Array],
    sizes: Sequence[int],
    positions: int,
    momentum: float,
    evenly: bool,
) -> tuple[Array, Array, Array]:
    """The mean and the unbiased variance that ghosts move the running ones to, and how far.

    Args:
        means, variances: of ghosts of one size, (ghosts, C), and of the smaller one that is left, if there is one.
        sizes: how many images those ghosts have each.
        positions: how many values of a channel an image has.
        momentum: the weight of each ghost, or of all together.
        evenly: whether all together are one new value, in which each value weighs the same.
    """
    mean = np.concatenate(means)
    counts = [size * positions for size in sizes]
    var = np.concatenate([var * (count / (count - 1)) for var, count in zip(variances, counts, strict=True)])
    weights = momentum * (1 - momentum) ** np.arange(len(mean))[::-1]
    if evenly:
        images = np.concatenate([np.full(len(each), size) for each, size in zip(means, sizes, strict=True)])
        weights = momentum * images / images.sum()
    total = weights.sum()
    return weights @ mean / total, weights @ var / total, np.asarray(total)


class GhostBatchNorm1D(GhostBatchNorm):
    """Ghost batch norm of (N, C) or (N, C, L).

    Example:
        >>> norm = nn.GhostBatchNorm1D(1, ghost_size=2)
        >>> print(norm(Tensor([[0.0], [2.0], [10.0], [30.0]])).numpy().round(3).ravel())
        [-1.  1. -1.  1.]
    """

    layouts = ("NC", "NCL")


class GhostBatchNorm2D(GhostBatchNorm):
    """Ghost batch norm of (N, C, H, W).

    Example:
        >>> norm = nn.GhostBatchNorm2D(3, ghost_size=8)
        >>> norm(Tensor(np.random.default_rng(0).normal(size=(32, 3, 4, 4)), dtype="float32")).shape
        (32, 3, 4, 4)
        >>> norm.num_batches_tracked
        Tensor(1)
    """

    layouts = ("NCHW",)
