"""The loader: batches of a data set in a seeded order, with a position that can be saved."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_norm.checks import check_integer, check_type
from tinygrad_norm.data.datasets import ArrayDataset, Dataset
from tinygrad_norm.dtypes import Array
from tinygrad_norm.schema import ANYTHING, COUNT, check_form

Transform = Callable[[Array, np.random.Generator], Array]
Mix = Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]


class DataLoader:
    """Batches of a data set, epoch by epoch, as tuples of fresh C-contiguous arrays.

    Each `iter(loader)` begins an epoch of its own at its first batch, whatever other iterators have read: a look at one
    batch takes nothing from the loop after it, and loops may stand inside each other. Epochs are numbered, and each
    iterator takes the next number, so that each has an order of its own.

    Besides, the loader has one position, `epoch` and `batch`: the batch that comes next. `resume()` goes on from it, to
    the end of that epoch, and moves it as batches are handed out, so a state saved inside the loop's body counts the
    body's own batch as done. An iterator that came to its end moves it too, to the epoch after its own, unless the
    position is inside an epoch: there it stays until `resume()` goes on, or it is set. A state saved after the last
    batch but inside the loop resumes with an empty rest of that epoch.

    The order of an epoch depends on (seed, epoch) alone, and the random numbers of a transform and a mix on
    (seed, epoch, batch), so a resumed run sees what an uninterrupted one would have seen.

    Args:
        dataset: has a length and takes an array of indices, as ArrayDataset does; or the two arrays for one.
        drop_last: leave out the last batch if it is smaller than the others.
        transform: called with the first array of each batch and a generator of its own; returns the array to use.
        mix: called with both arrays of each batch, after the transform, and the same generator; returns the pair to
            use, as Mixup and CutMix do.

    Raises:
        TypeError: the data set is an array alone, or a tuple or list of other than two arrays.
        ValueError: the data set is empty, `batch_size` below 1, `seed` below 0, or `drop_last` leaves no batch.

    Example:
        >>> loader = data.DataLoader(data.digits("train"), batch_size=64, shuffle=True, seed=0)
        >>> images, labels = next(iter(loader))
        >>> images.shape, labels.shape, len(loader)
        ((64, 1, 8, 8), (64,), 23)
    """

    def __init__(
        self,
        dataset: Dataset | tuple[Array, Array] | list[Array],
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        transform: Transform | None = None,
        mix: Mix | None = None,
    ) -> None:
        self.dataset = dataset = _as_dataset(dataset)
        self.batch_size = check_integer("DataLoader: batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.seed = check_integer("DataLoader: seed", seed, 0)
        self.transform = transform
        self.mix = mix
        self.epoch = 0
        self.batch = 0
        if len(dataset) == 0:
            raise ValueError("DataLoader: a data set has at least 1 example, got an empty one")
        if len(self) == 0:
            raise ValueError(
                f"DataLoader: drop_last=True leaves no batch of {len(dataset)} examples with batch_size={batch_size}; "
                f"make batch_size at most {len(dataset)}, or drop_last=False"
            )

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    @property
    def epoch(self) -> int:
        """The number of the epoch that the position is in, from 0; what is set is the next iterator's."""
        return self._epoch

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._epoch = self._next = check_integer("DataLoader: epoch", number, 0)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        self._next += 1
        return self._whole(self._next - 1)

    def resume(self) -> Iterator[tuple[Array, ...]]:
        """Yield the batches from the position to the end of its epoch, and move it along.

        Each call is one epoch, or the rest of one, be it after a `break` or after `load_state_dict`.
        """
        epoch, first = self._epoch, self.batch
        self._next = max(self._next, epoch + 1)
        with closing(self._batches(epoch, first)) as batches:
            for number, arrays in enumerate(batches, first + 1):
                self._epoch, self.batch = epoch, number
                yield arrays
        self._epoch, self.batch = epoch + 1, 0

    def _whole(self, epoch: int) -> Iterator[tuple[Array, ...]]:
        yield from self._batches(epoch, 0)
        if not self.batch:
            self._epoch = max(self._epoch, epoch + 1)

    def _batches(self, epoch: int, first: int) -> Generator[tuple[Array, ...], None, None]:
        """Yield the batches of an epoch from a number on."""
        order = self._order(epoch)
        return (self._load(order, epoch, number) for number in range(first, len(self)))

    def state_dict(self) -> dict[str, int | bool]:
        """Return the position and all that it depends on, ready for JSON."""
        settings = {name: getattr(self, name) for name in ("batch_size", "shuffle", "drop_last", "seed")}
        return {"epoch": self.epoch, "batch": self.batch, "length": len(self.dataset), **settings}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the position of a saved state; on an error nothing changes.

        Raises:
            ValueError: the state is incomplete, its position impossible, or it was saved by a loader of another length,
                batch size, shuffling, `drop_last` or seed, in whose order the position means something else.
        """
        own = self.state_dict()
        check_form(state, {**dict.fromkeys(own, ANYTHING), "epoch": COUNT, "batch": COUNT}, "a loader's state")
        differing = [key for key in own if key not in ("epoch", "batch") and state[key] != own[key]]
        if differing:
            found = ", ".join(f"{key}={state[key]!r} (here {own[key]!r})" for key in differing)
            raise ValueError(f"DataLoader: the state is of another loader: {found}")
        if state["batch"] > len(self):
            raise ValueError(f"DataLoader: batch is at most {len(self)}, those of an epoch, got {state['batch']}")
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])

    def _order(self, epoch: int) -> NDArray[np.intp]:
        order = np.arange(len(self.dataset))
        return self._generator(epoch).permutation(order) if self.shuffle else order

    def _load(self, order: NDArray[np.intp], epoch: int, batch: int) -> tuple[Array, ...]:
        indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        arrays = self.dataset[indices]
        check_type("DataLoader: what a data set returns", arrays, tuple, "a tuple of arrays")
        generator = self._generator(epoch, batch)
        if self.transform is not None:
            inputs = self.transform(arrays[0], generator)
            _check_count("DataLoader: transform returns an array", inputs, len(indices))
            arrays = (inputs, *arrays[1:])
        if self.mix is not None:
            if len(arrays) != 2:
                raise ValueError(f"DataLoader: mix is for data sets of inputs and targets, got {len(arrays)} arrays")
            arrays = self.mix(*arrays, generator)
            if not isinstance(arrays, tuple) or len(arrays) != 2:
                found = f"a tuple of {len(arrays)}" if isinstance(arrays, tuple) else type(arrays).__name__
                raise ValueError(f"DataLoader: mix returns the pair (inputs, targets), got {found}")
            for array in arrays:
                _check_count("DataLoader: mix returns two arrays", array, len(indices))
        return tuple(np.ascontiguousarray(array) for array in arrays)

    def _generator(self, *key: int) -> np.random.Generator:
        # A spawn key, because a plain list of seeds is padded with zeros: [seed, epoch] and [seed, epoch, 0] are alike.
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def _check_count(rule: str, given: Any, count: int) -> None:
    if not isinstance(given, np.ndarray) or given.shape[:1] != (count,):
        found = f"shape {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
        raise ValueError(f"{rule} of the batch's {count} examples, got {found}")


def _as_dataset(given: Any) -> Dataset:
    if isinstance(given, tuple | list) and len(given) == 2:
        return ArrayDataset(*given)
    if isinstance(given, tuple | list | np.ndarray):
        found = "an array alone" if isinstance(given, np.ndarray) else f"a {type(given).__name__} of {len(given)}"
        raise TypeError(f"DataLoader: dataset is a data set, or the pair (inputs, targets), got {found}")
    dataset: Dataset = given
    return dataset
