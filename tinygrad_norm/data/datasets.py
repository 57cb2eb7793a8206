"""A data set: examples that an index picks, in memory or elsewhere."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_norm.checks import check_integer, check_type
from tinygrad_norm.data.checks import in_words
from tinygrad_norm.dtypes import Array

Split = Literal["train", "test"]
Index = int | slice | list[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]


class Dataset(Protocol):
    """What a loader needs: a length, and the arrays of the examples that an array of indices names.

    Example:
        >>> class Squares:
        ...     def __len__(self):
        ...         return 10
        ...     def __getitem__(self, indices):
        ...         return indices.astype("float32"), indices**2
        >>> [batch[1].tolist() for batch in data.DataLoader(Squares(), batch_size=5)]
        [[0, 1, 4, 9, 16], [25, 36, 49, 64, 81]]
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: NDArray[np.intp], /) -> tuple[Array, ...]: ...


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ArrayDataset:
    """Inputs and their targets, one example per entry of the first axis.

    `dataset[index]` indexes both arrays as NumPy does and returns the pair.

    Args:
        class_names: the name of each class, where the targets are labels.

    Raises:
        TypeError: one of them is not a NumPy array.
        ValueError: they differ in length, or have no first axis.

    Example:
        >>> dataset = data.ArrayDataset(np.arange(6.0).reshape(3, 2), np.array([0, 1, 0]), class_names=("cat", "dog"))
        >>> dataset[1:]
        (array([[2., 3.],
               [4., 5.]]), array([1, 0]))
    """

    inputs: Array
    targets: Array
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, array in (("inputs", self.inputs), ("targets", self.targets)):
            check_type(f"ArrayDataset: {name}", array, np.ndarray, "a NumPy array, as np.asarray makes one")
            if array.ndim == 0:
                raise ValueError(f"ArrayDataset: {name} has a first axis that counts the examples, got shape ()")
        if len(self.inputs) != len(self.targets):
            raise ValueError(
                f"ArrayDataset: inputs and targets are as many, got {len(self.inputs)} and {len(self.targets)}"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Index) -> tuple[Array, Array]:
        return self.inputs[index], self.targets[index]

    def __repr__(self) -> str:
        return f"ArrayDataset(inputs={in_words(self.inputs)}, targets={in_words(self.targets)})"

    @property
    def num_classes(self) -> int:
        """The number of classes: of the names, or else the largest label plus one.

        Raises:
            TypeError: the targets are not labels.
        """
        if not self._has_labels:
            raise TypeError(f"ArrayDataset: classes are counted from integer labels (N,), got {in_words(self.targets)}")
        if self.class_names or len(self) == 0:
            return len(self.class_names)
        return int(self.targets.max()) + 1

    def split(self, every: int = 5) -> tuple[ArrayDataset, ArrayDataset]:
        """Hold out every `every`-th example of each class; the rest is the first part, the held out is the second.

        Nothing is drawn by chance: the examples keep their order, and the same data are always split alike. Targets
        that are not labels count as one class.
        """
        every = check_integer("ArrayDataset.split: every", every, 2)
        labels = self.targets if self._has_labels else np.zeros(len(self), np.int64)
        held_out = np.zeros(len(self), np.bool_)
        for label in np.unique(labels):
            held_out[np.flatnonzero(labels == label)[every - 1 :: every]] = True
        return self._take(~held_out), self._take(held_out)

    @property
    def _has_labels(self) -> bool:
        return self.targets.ndim == 1 and self.targets.dtype.kind in "iu"

    def _take(self, index: Index) -> ArrayDataset:
        return dataclasses.replace(self, inputs=self.inputs[index], targets=self.targets[index])
