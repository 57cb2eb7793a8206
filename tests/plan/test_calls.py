"""What the user's code calls while it is recorded."""

from __future__ import annotations

import contextlib
import cProfile
import datetime
import functools
import io
import logging
import os
import queue
import random
import sys
import time
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Op, Tensor, capture, ops
from tinygrad_norm.plan import calls

X = Tensor([1.0, 2.0])

READERS: dict[str, Any] = {
    "asarray": lambda x, a: x * float(np.asarray(a)[0]),
    "array": lambda x, a: x * float(np.array(a)[0]),
    "asanyarray": lambda x, a: x * float(np.asanyarray(a)[0]),
    "ascontiguousarray": lambda x, a: x * float(np.ascontiguousarray(a)[0]),
    "asfortranarray": lambda x, a: x * float(np.asfortranarray(a)[0]),
    "frombuffer": lambda x, a: x * float(np.frombuffer(a)[0]),
    "asanyarray in NumPy's code": lambda x, a: x * float(np.require(a)[0]),
}


@pytest.mark.parametrize("name", READERS)
def test_a_function_that_reads_a_given_array_and_tells_nobody_is_seen(name):
    function, fast = READERS[name], capture(READERS[name])
    for number in (1.0, 1.0, 2.0, 3.0):
        array = np.array([number, 0.0])
        assert fast(X, array).tolist() == function(X, array).tolist()
    assert "reads elements" in fast.why or f"np.{name.split()[0]} may read elements" in fast.why
    assert "(test_calls.py:" in fast.why


def test_without_given_arrays_and_in_an_op_they_are_free():
    class Doubles(Op):
        def forward(self, x):
            return np.asarray(x) * 2

    for function in (lambda x: (np.asarray([1.0]), x * 2.0)[1], lambda x: Doubles()(x)):
        fast = capture(function)
        for _ in range(3):
            assert fast(X).tolist() == [2.0, 4.0]
        assert fast.why == ""
    fast = capture(lambda x: Doubles()(Tensor(x)))
    for _ in range(3):
        assert fast(np.array([1.0, 2.0])).tolist() == [2.0, 4.0]
    assert fast.why == ""


CLOCKS: dict[str, Any] = {
    "time": time.time,
    "perf_counter_ns": time.perf_counter_ns,
    "strftime": lambda: time.strftime("%Y"),
    "datetime.now": datetime.datetime.now,
    "date.today": datetime.date.today,
    "urandom": lambda: os.urandom(2),
    "eval": lambda: eval("1"),
    "exec": lambda: exec("1"),
    "globals": globals,
    "open": lambda: open(os.devnull).close(),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_what_gives_a_result_that_nobody_compares_is_seen(name):
    fast = capture(lambda x: (CLOCKS[name](), x + 1)[1])
    for _ in range(4):
        fast(X)
    assert f"what {name}() gives, nobody compares (test_calls.py:" in fast.why


def logger_of(stream):
    logger = logging.Logger("of a step")
    logger.addHandler(logging.StreamHandler(stream))
    return logger.warning


WRITERS: dict[str, Any] = {
    "a file": (io.BytesIO, lambda file: lambda: file.write(b"a"), lambda file: file.tell()),
    "lines": (io.StringIO, lambda text: lambda: text.writelines("ab"), lambda text: text.getvalue()),
    "a log": (io.StringIO, lambda text: functools.partial(logger_of(text), "a"), lambda text: text.getvalue()),
    "a queue": (queue.SimpleQueue, lambda line: lambda: line.put(1), lambda line: line.qsize()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_where_nobody_looks_is_written_by_each_call(name):
    make, writing, content = WRITERS[name]
    one, other = make(), make()
    for target, wrapped in ((one, lambda function: function), (other, capture)):
        write = writing(target)

        def step(x, write=write):
            write()
            return x * 2.0

        run: Any = wrapped(step)
        for _ in range(7):
            run(Tensor([1.0]))
    assert content(other) == content(one)
    assert "which a replay would not (test_calls.py:" in run.why


def test_what_is_written_on_a_terminal_is_not(capsys):
    def step(x):
        sys.stderr.write("a")
        return x * 2.0

    fast = capture(step)
    for _ in range(3):
        fast(Tensor([1.0]))
    assert fast.why == ""
    assert capsys.readouterr().err == "aa"


def test_what_installed_code_asks_a_clock_is_its_own_affair():
    fast = capture(lambda x: (random.Random(3), datetime.timedelta(1), x + 1)[2])
    for _ in range(3):
        fast(X)
    assert fast.why == ""


# Errors


def catches(x, target):
    try:
        return ops.cross_entropy(x, target)
    except ValueError:
        return x.sum() * 0


def catches_all(x, target):
    try:
        return ops.cross_entropy(x, target)
    except:  # noqa: E722
        return x.sum() * 0


def suppresses(x, target):
    with contextlib.suppress(ValueError):
        return ops.cross_entropy(x, target)
    return x.sum() * 0


class Swallows:
    def __enter__(self):
        return None

    def __exit__(self, *error: object) -> bool:
        return True


def swallows(x, target):
    with Swallows():
        return ops.cross_entropy(x, target)
    return x.sum() * 0


@pytest.mark.parametrize("function", [catches, catches_all, suppresses, swallows])
def test_who_handles_errors_gets_those_of_later_calls(function, rng):
    fast, x = capture(function), Tensor(rng.normal(size=(2, 3)))
    for label in (1, 1, 2, 7, 1, 7):
        target = Tensor(np.full(2, label))
        assert fast(x, target).item() == function(x, target).item()
    assert "handles errors, and none reaches it in a replay (test_calls.py:" in fast.why


class Times:
    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        return None


def cleans_up(x):
    try:
        with Times(), np.errstate(all="ignore"):
            return x * 2.0
    finally:
        len("")


def test_who_only_cleans_up_is_replayed():
    fast = capture(cleans_up)
    for _ in range(3):
        fast(X)
    assert fast.why == ""


def test_only_code_that_runs_counts():
    class Model:
        def load(self):
            try:
                return open("nothing")
            except OSError:
                return None

        def __call__(self, x):
            return x * 2.0

    fast = capture(Model())
    for _ in range(3):
        fast(X)
    assert fast.why == ""


# Who profiles


def test_another_profile_function_sees_the_same_calls_and_stays():
    seen = []
    fast = capture(cleans_up)

    def see(frame, event, argument):
        seen.append(frame.f_code)

    sys.setprofile(see)
    try:
        fast(X)
        assert sys.getprofile() is see
    finally:
        sys.setprofile(None)
    assert cleans_up.__code__ in seen
    assert calls.watched.__wrapped__.__code__ in seen  # type: ignore[attr-defined]


def test_a_profile_goes_on():
    fast = capture(cleans_up)
    with cProfile.Profile() as profile:
        fast(X)
        sum([1])
    names = {str(each.code) for each in profile.getstats()}
    assert any("sum" in name for name in names)


def test_nobody_watches_afterwards_nor_after_an_error():
    def raises(x):
        raise KeyError

    for function in (cleans_up, raises):
        with contextlib.suppress(KeyError):
            capture(function)(X)
        assert sys.getprofile() is None
