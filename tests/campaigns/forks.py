"""A process that forks while something is going on: parent and child both get their work done, and are apart."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.campaigns.campaign import Kind, start, wait
from tests.campaigns.kills import Counter
from tests.campaigns.subject import check_finished, recipe, train_on
from tinygrad_norm import random
from tinygrad_norm.files import locked
from tinygrad_norm.training import Callback, train
from tinygrad_norm.training.checkpoint import read_checkpoint, save_parts
from tinygrad_norm.training.trainer import Trainer

CHILD_SECONDS = 10


@contextmanager
def threads(count: int, work: Callable[[int], object]) -> Iterator[None]:
    """Meanwhile threads do something again and again, each given its number."""
    over = threading.Event()

    def again(number: int) -> None:
        while not over.is_set():
            work(number)

    running = [threading.Thread(target=again, args=(number,)) for number in range(count)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in running:
            thread.join()


def while_saving(rng: np.random.Generator, folder: Path) -> None:
    def save(number: int) -> None:
        save_parts(folder / f"thread {number}", {"model": Counter(1000)}, number)

    with threads(2, save):
        time.sleep(rng.uniform(0, 0.03))
        children = [start(lambda: save_parts(folder / "child", {"model": Counter(1000)}, 99)) for _ in range(3)]
        assert [wait(child, CHILD_SECONDS) for child in children] == [0, 0, 0]
    save_parts(folder / "last", {"model": Counter(3)}, 3)
    assert sorted(os.listdir(folder)) == ["child", "last", "thread 0", "thread 1"], os.listdir(folder)
    assert read_checkpoint(folder / "child").extra == 99


def many_writers(rng: np.random.Generator, folder: Path) -> None:
    """Threads of several processes write into one folder, and each looks for what killed ones left there."""
    size = int(rng.integers(1, 10_000))

    def write(process: int) -> None:
        def save(number: int) -> None:
            for step in range(40):
                save_parts(folder / f"{process} {number}", {"model": Counter(size)}, step)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(save, range(3)))  # raises what a thread raised

    children = [start(functools.partial(write, process)) for process in range(3)]
    assert [wait(child) for child in children] == [0, 0, 0]
    assert sorted(os.listdir(folder)) == [f"{process} {number}" for process in range(3) for number in range(3)]
    assert all(read_checkpoint(folder / name).extra == 39 for name in os.listdir(folder))


def while_drawing(rng: np.random.Generator, folder: Path) -> None:
    """Threads draw random numbers, of which each has its turn."""
    with threads(2, lambda number: random.generator().normal(size=10_000)):
        time.sleep(rng.uniform(0, 0.01))
        child = start(lambda: int(not np.isfinite(random.generator().normal(size=10)).all()))
        assert wait(child, CHILD_SECONDS) == 0


class Forks(Callback):
    """Forks a child that trains elsewhere, in some batch."""

    def __init__(self, moment: int, elsewhere: Path) -> None:
        self.moment, self.elsewhere, self.child = moment, elsewhere, 0

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        self.moment -= 1
        if self.moment == 0:
            self.child = start(lambda: train_on(self.elsewhere))


def while_training(rng: np.random.Generator, folder: Path) -> None:
    forks = Forks(int(rng.integers(1, 20)), folder / "child")
    train(recipe(), folder / "parent", progress=False, callbacks=[forks])
    assert wait(forks.child, CHILD_SECONDS) == 0
    check_finished(folder / "child")
    check_finished(folder / "parent")


def with_a_lock(rng: np.random.Generator, folder: Path) -> None:
    """A child leaves the block before or after its parent, and the lock lasts as long as the parent's."""
    path, moment = folder / "lock", rng.uniform(0, 0.02)

    def work() -> int:
        time.sleep(moment)
        raise SystemExit(5)  # through the block, as a child does that was forked inside of it

    def leave() -> int:
        try:
            with locked(path, "in use"):
                child = os.fork()
                if not child:
                    work()
                time.sleep(rng.uniform(0, 0.02))
                return int(not is_held(path))
        except SystemExit:
            os._exit(5)
        finally:
            os.waitpid(child, 0)

    assert wait(start(leave), CHILD_SECONDS) == 0, "the lock went with the child"
    assert os.listdir(folder) == []
    with locked(path, "in use"):
        assert is_held(path)


def is_held(path: Path) -> bool:
    try:
        with locked(path, "in use"):
            return False
    except BlockingIOError:
        return True


KINDS = [
    Kind("forks", "while saving", 40, while_saving),
    Kind("forks", "many writers", 10, many_writers),
    Kind("forks", "while drawing", 20, while_drawing),
    Kind("forks", "while training", 15, while_training),
    Kind("forks", "with a lock", 40, with_a_lock),
]
