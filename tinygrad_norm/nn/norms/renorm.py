"""Batch renormalization: batch norm, corrected towards the running statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from tinygrad_norm.checks import FINITE, Range, check_integer, check_number
from tinygrad_norm.dtypes import Array, DTypeOrNone
from tinygrad_norm.launch import late
from tinygrad_norm.nn.norms.base import DefinedBatchNorm
from tinygrad_norm.tensor import Tensor


def batch_renorm(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, *, axes: Any, eps: Any, r_max: Any, d_max: Any
) -> Any:
    """weight · ((x - mean) / σ · r + d) + bias, with σ = √(var + eps), and the batch's mean and var.

    r = σ / σ_running and d = (mean - running_mean) / σ_running, clipped to [1/r_max, r_max] and [-d_max, d_max], are
    held: no gradient goes through them.
    """
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    var = xp.mean(xp.square(x - mean), axis=axes, keepdims=True)
    deviation, running_deviation = xp.sqrt(var + eps), xp.sqrt(running_var + eps)
    r = xp.stop_gradient(xp.clip(deviation / running_deviation, 1 / r_max, r_max))
    d = xp.stop_gradient(xp.clip((mean - running_mean) / running_deviation, -d_max, d_max))
    return weight * ((x - mean) / deviation * r + d) + bias, mean, var


@dataclass(frozen=True)
class Ramp:
    """A number that goes from `first` to `last` on a straight line, from batch `begin` to batch `end`.

    Raises:
        ValueError, TypeError: one is no finite number, a batch no integer of at least 0, or the end before the begin.

    Example:
        >>> limit = nn.Ramp(1, 3, begin=100, end=200)
        >>> [limit(batches) for batches in (0, 150, 1000)]
        [1.0, 2.0, 3.0]
    """

    first: float
    last: float
    begin: int
    end: int

    def __post_init__(self) -> None:
        for name in ("first", "last"):
            check_number(f"Ramp: {name}", getattr(self, name), FINITE)
        check_integer("Ramp: end", self.end, check_integer("Ramp: begin", self.begin, 0))

    def __call__(self, batches: int) -> float:
        """The number after so many batches."""
        part = min(max((batches - self.begin) / max(self.end - self.begin, 1), 0.0), 1.0)
        return self.first + part * (self.last - self.first)


Limit = float | Callable[[int], float]
"""A limit, or a function from the number of batches seen to one."""

_R = Range("a number of at least 1", lambda value: value >= 1)
_D = Range("a number of at least 0", lambda value: value >= 0)


class BatchRenorm(DefinedBatchNorm):
    """Batch norm that trains on what it will infer with: y is corrected towards the running statistics.

    y = weight · ((x - mean) / σ · r + d) + bias, where r = σ / σ_running and d = (mean - running_mean) / σ_running are
    clipped to [1/r_max, r_max] and [-d_max, d_max] and taken for constants. With r_max = 1 and d_max = 0 it is batch
    norm; without limits y is that of inference. Inference is batch norm's.

    Args:
        num_features, eps, affine: as in `BatchNorm2D`.
        momentum: the weight of the new value in the running statistics; the paper's is smaller than batch norm's.
        r_max, d_max: numbers, or functions from the number of batches seen to one. At first they are the paper's: batch
            norm for 5,000 batches, then r_max rises to 3 by batch 40,000, and d_max to 5 by batch 25,000. A shorter
            run takes a `Ramp` of its own length and a larger momentum, as the zoo's `norm="renorm"` does.

    σ_running is the root of batch norm's running variance, which is unbiased, so that the state and inference are batch
    norm's; the paper averages σ itself, which is smaller where batches are.

    Source: Ioffe, Batch renormalization: towards reducing minibatch dependence in batch-normalized models, 2017.
    """

    definition = staticmethod(batch_renorm)
    momentum: float | None = 0.01
    _: KW_ONLY
    r_max: Limit = Ramp(1.0, 3.0, 5_000, 40_000)
    d_max: Limit = Ramp(0.0, 5.0, 5_000, 25_000)

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        if not self.track_running_stats:
            raise ValueError(
                f"{type(self).__name__}: track_running_stats is True, as the output depends on the running statistics, "
                "got False; without them it would be batch norm"
            )
        self.limits()

    def limits(self) -> dict[str, float]:
        """Return r_max and d_max as they are now."""
        limits = (("r_max", self.r_max, _R), ("d_max", self.d_max, _D))
        batches, own = self.num_batches_tracked.raw, type(self).__name__
        return {name: late(_limit, f"{own}: {name}", limit, allowed, batches) for name, limit, allowed in limits}

    def reads_running_statistics(self) -> bool:
        return True

    def normalize_batch(self, x: Tensor) -> tuple[Tensor, Sequence[Array]]:
        axes = (0, *range(2, len(x.shape)))
        return self.derived_with_statistics(
            x, *self.running(x), *self.affine_parameters(), axes=axes, eps=self.eps, **self.limits()
        )


def _limit(name: str, limit: Any, allowed: Range, batches: Array) -> float:
    """A limit after so many batches."""
    value = limit(int(batches)) if callable(limit) and not isinstance(limit, type) else limit
    return check_number(name, value, allowed)


class BatchRenorm1D(BatchRenorm):
    """Batch Renorm of (N, C) or (N, C, L).

    Example:
        >>> norm = nn.BatchRenorm1D(2, r_max=1.0, d_max=0.0)  # so far batch norm
        >>> print(norm(Tensor([[0.0, 10.0], [2.0, 30.0]])).numpy().round(3))
        [[-1. -1.]
         [ 1.  1.]]
    """

    layouts = ("NC", "NCL")


class BatchRenorm2D(BatchRenorm):
    """Batch Renorm of (N, C, H, W).

    Example:
        >>> norm = nn.BatchRenorm2D(3, r_max=nn.Ramp(1, 3, begin=5000, end=40000))
        >>> norm(Tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 4)), dtype="float32")).shape
        (2, 3, 4, 4)
    """

    layouts = ("NCHW",)
