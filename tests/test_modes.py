"""How the ops of a thread run: recorded or not, composed or not, seen by hooks, in the scope of a module."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import FusedOp, Hook, Op, Tensor, composed, enable_grad, grad, hooks, is_recording, no_grad, ops
from tinygrad_norm.modes import (
    current,
    current_layer,
    current_scope,
    enter_layer,
    enter_scope,
    leave_layer,
    leave_scope,
)


class Twice(FusedOp):
    """2 x in one kernel."""

    def composed(self, x: Tensor) -> Tensor:
        return x + x

    def forward(self, x: Any) -> Any:
        return 2 * x

    def gradient(self, grad: Any, x: Any) -> Any:
        return (2 * grad,)


def leaf() -> Tensor:
    return Tensor(np.array([0.5, 2.0]), requires_grad=True)


# Recording


def test_no_grad_and_enable_grad_nest():
    x = leaf()
    with no_grad():
        assert not (x * 2.0).requires_grad
        with enable_grad():
            assert (x * 2.0).requires_grad
            with no_grad():
                assert not is_recording()
            assert is_recording()
        assert not is_recording()
    assert is_recording()


@pytest.mark.parametrize("mode", [no_grad, enable_grad, composed, lambda: hooks(Hook())])
def test_an_exception_restores_what_was(mode):
    def state() -> list[Any]:
        return [is_recording(), type(Twice()(leaf()).creator).__name__, current_scope()]

    before = state()
    with pytest.raises(ZeroDivisionError), mode():
        raise ZeroDivisionError
    assert state() == before


def test_as_decorators_they_hold_for_each_call():
    @no_grad()
    def infer(x: Tensor) -> Tensor:
        """Twice x."""
        return x * 2.0

    @enable_grad()
    def learn(x: Tensor) -> Tensor:
        return x * 2.0

    assert (infer.__name__, infer.__doc__) == ("infer", "Twice x.")
    for _ in range(2):
        assert not infer(leaf()).requires_grad
        with no_grad():
            assert learn(leaf()).requires_grad
            assert not is_recording()
    assert is_recording()


def test_a_decorated_function_may_call_itself():
    @no_grad()
    def countdown(n: int) -> list[bool]:
        return [is_recording(), *(countdown(n - 1) if n else []), is_recording()]

    assert countdown(3) == [False] * 8
    assert is_recording()


def test_a_decorated_function_may_fail():
    @no_grad()
    def fail() -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail()
        assert is_recording()


def test_a_generator_function_is_not_decorated():
    """Its body runs after the call has returned, when the mode is over: refused, rather than recorded in silence."""

    def numbers() -> Iterator[int]:
        yield 1

    async def number() -> int:
        return 1

    for function in (numbers, number):
        for mode in (no_grad, enable_grad):
            with pytest.raises(TypeError, match=f"{function.__name__} is a .*with block"):
                mode()(function)


def test_in_a_generator_the_mode_holds_where_it_is_consumed_too():
    """A `with` block that a generator yields from is open until the generator goes on: so says Python."""

    def numbers() -> Iterator[bool]:
        with no_grad():
            yield is_recording()

    seen = [(inside, is_recording()) for inside in numbers()]
    assert seen == [(False, False)]
    assert is_recording()


def test_threads_do_not_share_a_mode():
    inside, over = threading.Event(), threading.Event()
    seen: list[bool] = []

    def infer() -> None:
        with no_grad():
            inside.set()
            over.wait(10)
            seen.append(is_recording())
        seen.append(is_recording())

    thread = threading.Thread(target=infer)
    thread.start()
    inside.wait(10)
    recording = is_recording()
    over.set()
    thread.join()
    assert recording
    assert seen == [False, True]


def test_threads_may_share_a_decorated_function():
    @no_grad()
    def infer(inside: threading.Event, over: threading.Event) -> bool:
        inside.set()
        over.wait(10)
        return is_recording()

    with ThreadPoolExecutor(2) as pool:
        calls = []
        for _ in range(2):
            inside, over = threading.Event(), threading.Event()
            calls.append((pool.submit(infer, inside, over), over))
            inside.wait(10)
        for call, over in calls:  # the first to begin is the first to end
            over.set()
            assert call.result() is False


def test_threads_record_and_go_back_at_the_same_time():
    def work(results: list[float]) -> None:
        x = leaf()
        for _ in range(50):
            y = x
            for _ in range(20):
                y = y * 1.0 + 0.0
            results.append(float(grad(y.sum(), x)[0].sum()))

    results: list[list[float]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=work, args=(result,)) for result in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[2.0] * 50] * 4


def test_a_leaf_made_under_no_grad_still_asks():
    with no_grad():
        x = leaf()
    assert grad((x * 3.0).sum(), x)[0].tolist() == [3.0, 3.0]


# Composed


def test_composed_runs_the_definition():
    x = leaf()
    assert type(Twice()(x).creator).__name__ == "Twice"
    with composed():
        assert type(Twice()(x).creator).__name__ == "Add"
        with composed(False):
            assert type(Twice()(x).creator).__name__ == "Twice"
        assert Twice()(np.array([1.0])).tolist() == [2.0]


def test_a_fused_op_runs_its_definition_where_the_way_back_is_recorded():
    class Broken(Twice):
        def gradient(self, grad: Any, x: Any) -> Any:
            raise AssertionError("the kernel's gradient")

    x = leaf()
    with pytest.raises(AssertionError, match="the kernel's gradient"):
        grad(Broken()(x).sum(), x)
    assert grad(Broken()(x).sum(), x, create_graph=True)[0].tolist() == [2.0, 2.0]


# Scopes


def test_scopes_join_with_dots_and_end():
    outer = enter_scope("layers")
    inner = enter_scope("0")
    unnamed = enter_scope("")
    y = leaf().exp()
    assert current_scope() == "layers.0"
    for token in (unnamed, inner, outer):
        leave_scope(token)
    assert current_scope() == ""
    assert y.creator.scope == "layers.0"
    assert y.creator.name == "Exp in layers.0"


# Hooks


class Diary(Hook):
    """Writes down what it sees."""

    def __init__(self, diary: list[tuple[Any, ...]], name: str = "") -> None:
        self.diary, self.name = diary, name

    def before_forward(self, op: Op, inputs: tuple[Any, ...]) -> None:
        self.diary.append((self.name, "before_forward", op, inputs))

    def after_forward(self, op: Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.diary.append((self.name, "after_forward", op, inputs, output))

    def before_backward(self, op: Op, grad: Tensor) -> None:
        self.diary.append((self.name, "before_backward", op, grad.tolist()))

    def after_backward(self, op: Op, grad: Tensor, grads: tuple[Tensor | None, ...]) -> None:
        self.diary.append((self.name, "after_backward", op, grad.tolist(), np.asarray(grads).tolist()))


def test_hooks_see_an_op_forward_with_its_inputs_and_output():
    diary: list[tuple[Any, ...]] = []
    x, factor = leaf(), np.array([3.0, 4.0])
    with hooks(Diary(diary)):
        y = ops.multiply(x, factor)
    before, after = diary
    assert before[1:3] == ("before_forward", y.creator)
    assert before[3][0] is x
    assert before[3][1] is factor
    assert after[1:3] == ("after_forward", y.creator)
    assert after[3] is before[3]
    assert after[4] is y


def test_hooks_see_ops_that_are_not_recorded():
    diary: list[tuple[Any, ...]] = []
    with hooks(Diary(diary)):
        y = ops.exp(Tensor([1.0]))
    assert [entry[1] for entry in diary] == ["before_forward", "after_forward"]
    assert y.creator is None


def test_hooks_see_an_op_backward_with_its_gradients():
    diary: list[tuple[Any, ...]] = []
    x = leaf()
    y = Twice()(x)
    with hooks(Diary(diary)):
        y.backward(np.array([1.0, 10.0]))
    assert [entry[1:] for entry in diary] == [
        ("before_backward", y.creator, [1.0, 10.0]),
        ("after_backward", y.creator, [1.0, 10.0], [[2.0, 20.0]]),
    ]


def test_hooks_run_in_the_order_in_which_they_were_given():
    diary: list[tuple[Any, ...]] = []
    with hooks(Diary(diary, "a"), Diary(diary, "b")), hooks(Diary(diary, "c")):
        Twice()(leaf()).backward(np.ones(2))
    moments = ["before_forward", "after_forward", "before_backward", "after_backward"]
    assert [entry[:2] for entry in diary] == [(name, moment) for moment in moments for name in "abc"]


def test_a_hook_sees_only_its_block():
    diary: list[tuple[Any, ...]] = []
    x = leaf()
    with hooks(Diary(diary)):
        y = Twice()(x)
    seen = len(diary)
    Twice()(y).sum().backward()
    assert len(diary) == seen


@pytest.mark.parametrize("moment", ["before_forward", "after_forward", "before_backward", "after_backward"])
def test_an_exception_in_a_hook_comes_out_and_leaves_gradients_alone(moment):
    class Objects(Hook):
        pass

    def fail(self: Hook, *arguments: Any) -> None:
        raise ZeroDivisionError

    setattr(Objects, moment, fail)
    x = leaf()
    with pytest.raises(ZeroDivisionError), hooks(Objects()):
        Twice()(x).sum().backward()
    assert x.grad is None
    assert is_recording()
    assert grad(Twice()(x).sum(), x)[0].tolist() == [2.0, 2.0]


def test_without_hooks_none_is_called(monkeypatch):
    def called(self: Hook, *arguments: Any) -> None:
        raise AssertionError("a hook was called")

    moments: list[Callable[..., None]] = [
        Hook.before_forward,
        Hook.after_forward,
        Hook.before_backward,
        Hook.after_backward,
    ]
    for moment in moments:
        monkeypatch.setattr(Hook, moment.__name__, called)
    Twice()(leaf()).sum().backward()
    with pytest.raises(AssertionError, match="a hook was called"), hooks(Hook()):
        Twice()(leaf())


def test_hooks_see_what_a_recorded_way_back_computes_and_nothing_of_another():
    class Moments(Hook):
        def after_forward(self, op: Op, inputs: tuple[Any, ...], output: Tensor) -> None:
            seen.append("forward")

        def after_backward(self, op: Op, grad: Tensor, grads: tuple[Tensor | None, ...]) -> None:
            seen.append("backward")

    seen: list[str] = []
    x = leaf()
    y = ops.exp(x)
    for recorded, expected in ((False, ["backward"]), (True, ["forward", "backward"])):
        with hooks(Moments()):
            grad(y, x, np.ones(2), retain_graph=True, create_graph=recorded)
        assert seen == expected
        seen.clear()


def test_what_runs_knows_whether_it_is_part_of_a_walk():
    seen: list[bool] = []

    class Watching(Op):
        def forward(self, x: Any) -> Any:
            seen.append(current().in_backward)
            return x + 0

        def backward(self, grad: Tensor) -> Tensor:
            return Watching()(grad)

    Watching()(leaf()).sum().backward()
    Watching()(leaf())
    assert seen == [False, True, False]


def test_a_layer_is_named_where_it_runs_and_not_in_what_it_calls():
    assert current_layer() == ""
    outer = enter_scope("net")
    layer = enter_layer("SPADE")
    assert current_layer() == "SPADE"
    inner = enter_scope("conv")
    assert current_layer() == ""
    nested = enter_layer("BatchNorm2D")
    assert current_layer() == "BatchNorm2D"
    leave_layer(nested)
    leave_scope(inner)
    assert current_layer() == "SPADE"
    leave_layer(layer)
    leave_scope(outer)
    assert current_layer() == ""
