"""Blocks that change a setting: in any order, in any thread; and a lock that a fork does not hold shut."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Hook, Tensor, composed, detect_anomaly, enable_grad, fast_math, hooks, is_recording, no_grad
from tinygrad_norm.kernels.precision import is_fast
from tinygrad_norm.modes import current
from tinygrad_norm.settings import Block, Setting

BLOCKS: dict[str, tuple[Callable[[], Block], Callable[[], Any]]] = {
    "no_grad": (no_grad, lambda: not is_recording()),
    "composed": (composed, lambda: current().composed),
    "hooks": (lambda: hooks(Hook()), lambda: bool(current().hooks)),
    "detect_anomaly": (detect_anomaly, lambda: bool(current().hooks)),
    "fast_math": (lambda: fast_math(False), lambda: not is_fast()),
}
every_block = pytest.mark.parametrize(("make", "holds"), BLOCKS.values(), ids=BLOCKS)


def elsewhere(work: Callable[[], Any]) -> Any:
    """What `work` returns in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(10)


def opened(block: Block) -> Generator[None, None, None]:
    """A generator that yields within a block."""
    with block:
        yield


@every_block
def test_threads_may_enter_one_object_in_any_order(make, holds):
    shared = make()
    entered, left = threading.Event(), threading.Event()

    def work() -> tuple[Any, Any, Any]:
        before = holds()
        with shared:
            entered.set()
            left.wait(10)
            inside = holds()
        return before, inside, holds()

    with ThreadPoolExecutor(1) as pool:
        with shared:
            other = pool.submit(work)
            entered.wait(10)
            assert holds()
        assert not holds()  # the first to enter is the first to leave
        left.set()
        assert other.result(10) == (False, True, False)
    assert not holds()


@every_block
def test_one_object_may_be_entered_again_inside_of_itself(make, holds):
    block = make()
    with block, block:
        with block:
            pass
        assert holds()
    assert not holds()


@every_block
@pytest.mark.parametrize(
    "leave", [elsewhere, lambda close: copy_context().run(close)], ids=["thread", "copied context"]
)
def test_a_block_is_left_where_it_was_entered(make, holds, leave):
    """Nobody else can set a thread back: one that tries is told so. A task runs in a copy of the context, so it too."""
    block = make()
    numbers = opened(block)
    next(numbers)
    with pytest.raises(RuntimeError, match="a with block is left in the thread or task that entered it, got another"):
        leave(numbers.close)
    assert holds()
    block.__exit__()
    assert not holds()


@every_block
def test_a_generator_that_was_begun_in_another_thread_changes_nothing_here(make, holds):
    numbers = opened(make())
    elsewhere(lambda: next(numbers))
    assert not holds()
    with make():
        with pytest.raises(RuntimeError, match="a with block is left in the thread or task that entered it, got anoth"):
            numbers.close()
        assert holds()
    assert not holds()


@every_block
def test_blocks_may_end_in_the_order_in_which_they_began(make, holds):
    first, second = opened(make()), opened(make())
    next(first)
    next(second)
    first.close()
    assert holds()
    second.close()
    assert not holds()


def test_a_block_that_ends_early_takes_only_its_own_change_along():
    numbers = opened(no_grad())
    watching = Hook()
    next(numbers)
    with hooks(watching), composed(), enable_grad():
        numbers.close()
        assert _three() == (True, True, (watching,))
    numbers = opened(hooks(watching))
    next(numbers)
    with no_grad(), composed():
        numbers.close()
        assert _three() == (False, True, ())
    assert _three() == (True, False, ())


def test_a_walk_goes_on_when_a_block_around_it_ends():
    x = Tensor(np.array([2.0, 3.0]), requires_grad=True)
    numbers = opened(no_grad())
    seen = []

    def close(gradient: Tensor) -> None:
        numbers.close()
        seen.append(is_recording())

    y = x * x * x
    y.register_hook(close)
    next(numbers)
    y.backward(np.ones(2))
    assert seen == [False]  # the walk records nothing
    assert is_recording()
    np.testing.assert_allclose(x.grad.numpy(), [12.0, 27.0])


def test_tasks_have_settings_of_their_own():
    async def inside(block: Block, turns: int) -> list[bool]:
        with block:
            for _ in range(turns):
                await asyncio.sleep(0)
            return [is_recording()]

    async def main() -> list[list[bool]]:
        shared = no_grad()
        return list(await asyncio.gather(inside(shared, 3), inside(enable_grad(), 2), inside(shared, 1)))

    assert asyncio.run(main()) == [[False], [True], [False]]
    assert is_recording()


@every_block
def test_a_block_decorates_functions_of_any_thread(make: Callable[[], Block], holds: Callable[[], Any]) -> None:
    @make()
    def inside(depth: int) -> list[Any]:
        return [holds(), *(inside(depth - 1) if depth else [])]

    assert inside(2) == elsewhere(lambda: inside(2)) == [True] * 3
    assert not holds()


def test_many_blocks_end_in_any_order(rng):
    number = Setting("number", 0)
    for _ in range(20):
        blocks = [Block(number, lambda value, step=step: 3 * value + step) for step in range(1, 8)]
        for block in blocks:
            block.__enter__()
        left = list(range(7))
        for place in rng.permutation(7):
            blocks[place].__exit__(None, None, None)
            left.remove(int(place))
            expected = 0
            for other in left:
                expected = 3 * expected + other + 1
            assert number.get() == expected


def _three():
    mode = current()
    return mode.recording, mode.composed, mode.hooks
