from __future__ import annotations

import gc
import json
import threading
import time
import traceback
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import nn, optim
from tinygrad_norm.data import ArrayDataset, DataLoader, Prefetch
from tinygrad_norm.data.prefetch import ahead
from tinygrad_norm.training import Trainer


def numbers(count: int) -> ArrayDataset:
    index = np.arange(count)
    return ArrayDataset(np.stack([index, -index], axis=1).astype(np.float32), index)


def jitter(inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return inputs + rng.random(inputs.shape, np.float32)


def swap(inputs: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = rng.permutation(len(inputs))
    return inputs[order], targets[order]


def build(**options: Any) -> DataLoader:
    return DataLoader(numbers(10), 3, **{"shuffle": True, "seed": 5, "transform": jitter, "mix": swap, **options})


def run(loader: DataLoader, epochs: int) -> list[tuple[int, bytes, bytes]]:
    batches = []
    while loader.epoch < epochs:
        epoch = loader.epoch
        batches += [(epoch, inputs.tobytes(), targets.tobytes()) for inputs, targets in loader.resume()]
    return batches


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    """Every test here ends with as many threads as it began with."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before, threading.enumerate()


# The same as the loader


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True}])
def test_it_gives_what_the_loader_gives_bit_for_bit(depth, options):
    assert run(Prefetch(build(**options), depth), 3) == run(build(**options), 3)


def test_it_takes_over_settings_and_position():
    loader = build(drop_last=True)
    next(loader.resume())
    prefetch = Prefetch(loader)
    assert prefetch.state_dict() == loader.state_dict()
    assert len(prefetch) == len(loader) == 3
    assert run(prefetch, 2) == run(loader, 2)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_state_counts_what_was_handed_out_and_fits_both(depth):
    uninterrupted = run(build(), 2)
    states, saving = [], Prefetch(build(), depth)
    for _ in range(2):
        states.append(saving.state_dict())
        for _ in saving.resume():
            time.sleep(0.002)  # the thread runs ahead meanwhile
            states.append(saving.state_dict())
    assert [(state["epoch"], state["batch"]) for state in states] == [(e, b) for e in range(2) for b in range(5)]
    for state in states:
        for resumed in (build(), Prefetch(build(), depth)):
            resumed.load_state_dict(json.loads(json.dumps(state)))
            assert run(resumed, 2) == uninterrupted[state["epoch"] * 4 + state["batch"] :]


def test_resume_goes_on_after_a_break_and_iter_begins_an_epoch():
    loader = Prefetch(DataLoader(numbers(6), 2))
    for _, targets in loader.resume():
        assert targets.tolist() == [0, 1]
        break
    assert (loader.epoch, loader.batch) == (0, 1)
    assert [targets.tolist() for _, targets in loader] == [[0, 1], [2, 3], [4, 5]]
    assert [targets.tolist() for _, targets in loader.resume()] == [[2, 3], [4, 5]]
    assert (loader.epoch, loader.batch) == (1, 0)


def test_iterators_side_by_side_and_inside_each_other_run_whole():
    plain, loader = build(), Prefetch(build())
    expected = [[targets.tobytes() for _, targets in plain] for _ in range(2)]
    pairs = [(a.tobytes(), b.tobytes()) for (_, a), (_, b) in zip(loader, loader, strict=True)]
    assert pairs == list(zip(*expected, strict=True))
    assert [len(list(loader)) for _ in loader] == [4, 4, 4, 4]


def test_a_trainer_trains_and_resumes_with_it_as_without(tmp_path):
    rng = np.random.default_rng(0)
    data = ArrayDataset(rng.random((10, 4), np.float32), rng.integers(3, size=10))

    def trainer(wrap: Any) -> tuple[Trainer, DataLoader]:
        from tinygrad_norm import manual_seed

        manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1D(5), nn.Linear(5, 3))
        loader = wrap(DataLoader(data, 3, shuffle=True, transform=jitter, drop_last=True))
        return Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), progress=False), loader

    plain, loader = trainer(lambda loader: loader)
    plain.fit(loader, epochs=3, validation=DataLoader(data, 4))

    first, loader = trainer(Prefetch)
    next(iter(loader))  # somebody had a look; the trainer begins at the beginning all the same
    first.fit(loader, epochs=1, validation=Prefetch(DataLoader(data, 4)))
    first.save_checkpoint(tmp_path / "run.safetensors")
    second, loader = trainer(Prefetch)
    second.resume(tmp_path / "run.safetensors", loader)
    second.fit(loader, epochs=3, validation=Prefetch(DataLoader(data, 4)))
    assert second.history == plain.history
    for one, other in zip(second.model.parameters(), plain.model.parameters(), strict=True):
        np.testing.assert_array_equal(one.raw, other.raw)


# Ahead, but no further


class Counting:
    """A load that notes what it was asked for, and in which thread."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, number: int) -> int:
        self.asked.append(number)
        self.threads.add(threading.get_ident())
        return number * 10


def until(condition: Any) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("it did not come to be within two seconds")


@pytest.mark.parametrize("depth", [1, 3])
def test_a_thread_of_its_own_prepares_depth_batches_ahead(depth):
    load = Counting()
    results = ahead(load, range(10), depth)
    assert load.asked == []
    for handed_out in range(1, 6):
        assert next(results) == (handed_out - 1) * 10
        until(lambda handed_out=handed_out: len(load.asked) == handed_out + depth)
        time.sleep(0.005)
        assert load.asked == list(range(handed_out + depth))
    assert list(results) == [50, 60, 70, 80, 90]
    assert load.asked == list(range(10))
    assert len(load.threads) == 1
    assert threading.get_ident() not in load.threads


def test_the_next_batch_is_prepared_while_the_last_one_is_used():
    """Each waits for the other, so without a thread this would never end."""
    started = [threading.Event() for _ in range(4)]

    def load(number: int) -> int:
        started[number].set()
        return number

    for number in ahead(load, range(4), 1):
        if number + 1 < 4:
            assert started[number + 1].wait(2)


def test_settings_of_numpy_hold_in_the_thread():
    def divide(inputs: np.ndarray, rng: np.random.Generator) -> Any:
        return inputs / np.zeros_like(inputs)

    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        list(Prefetch(build(transform=divide)))


# Errors


def fail_at(label: int, error: BaseException) -> Any:
    def transform(inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if label in inputs[:, 0]:
            raise error
        return inputs

    return transform


@pytest.mark.parametrize("error", [ValueError("a spoilt image"), KeyboardInterrupt("from within"), MemoryError()])
def test_an_error_is_raised_in_its_place_with_its_traceback(error):
    loader = Prefetch(DataLoader(numbers(10), 2, transform=fail_at(5, error)), depth=3)
    seen: list[list[int]] = []
    with pytest.raises(type(error)) as raised:
        seen.extend(targets.tolist() for _, targets in loader.resume())
    assert seen == [[0, 1], [2, 3]]
    assert (loader.epoch, loader.batch) == (0, 2)
    assert raised.value is error
    assert "transform" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_after_an_error_the_batch_is_tried_again():
    broken = [True]

    def transform(inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if broken.pop() if broken and 2 in inputs else False:
            raise OSError("the disk was away")
        return inputs

    loader = Prefetch(DataLoader(numbers(6), 2, transform=transform))
    with pytest.raises(OSError, match="the disk was away"):
        list(loader.resume())
    assert loader.batch == 1
    assert [targets.tolist() for _, targets in loader.resume()] == [[2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("loader", "depth", "error", "message"),
    [
        (numbers(3), 2, TypeError, "Prefetch takes a DataLoader, got ArrayDataset"),
        (Prefetch(build()), 2, TypeError, "Prefetch takes a DataLoader, got Prefetch"),
        (build(), 0, ValueError, "depth is an integer of at least 1, got 0"),
        (build(), 1.0, TypeError, "depth is an integer"),
    ],
)
def test_what_it_cannot_take_is_refused(loader, depth, error, message):
    with pytest.raises(error, match=message):
        Prefetch(loader, depth)


# The thread ends; the fixture above sees to it


def test_the_thread_is_there_during_and_gone_after_an_epoch():
    before = threading.active_count()
    loader = Prefetch(build())
    assert [threading.active_count() - before for _ in loader] == [1, 1, 1, 1]
    assert threading.active_count() == before


def test_a_break_ends_the_thread():
    before = threading.active_count()
    for _ in Prefetch(build()):
        break
    assert threading.active_count() == before


def test_after_a_break_nothing_more_is_prepared():
    begun, go, load = threading.Event(), threading.Event(), Counting()

    def held_up(number: int) -> int:
        if number == 1:
            begun.set()
            assert go.wait(2)
        return load(number)

    results = ahead(held_up, range(10), 5)
    next(results)
    assert begun.wait(2)
    later = threading.Timer(0.05, go.set)
    later.start()
    results.close()  # waits for what is under way
    later.join()
    assert load.asked == [0, 1]


def test_an_exception_in_the_body_ends_the_thread():
    def body() -> None:
        for _ in Prefetch(build()):
            raise RuntimeError("of the body")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="of the body"):
        body()
    until(lambda: threading.active_count() == before)


def test_an_iterator_that_is_forgotten_ends_its_thread():
    before = threading.active_count()
    iterator = iter(Prefetch(build()))
    next(iterator)
    assert threading.active_count() == before + 1
    del iterator
    assert threading.active_count() == before


def test_the_garbage_collector_ends_it_even_from_the_thread_itself():
    """A thread that waited for its own end would wait for ever, or complain."""
    go, held = threading.Event(), {}

    def load(number: int) -> int:
        if number == 1:
            assert go.wait(2)
            gc.collect()
        return number

    def forget() -> None:
        held["iterator"] = ahead(load, range(5), 2)
        next(held["iterator"])
        cycle = [held.pop("iterator")]
        cycle.append(cycle)

    before = threading.active_count()
    gc.collect()
    gc.disable()
    try:
        forget()
        go.set()
        until(lambda: threading.active_count() == before)
    finally:
        gc.enable()


def test_an_iterator_that_was_never_asked_has_no_thread():
    before = threading.active_count()
    iterator = iter(Prefetch(build()))
    assert threading.active_count() == before
    del iterator
