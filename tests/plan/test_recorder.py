"""What passes the door is written down, each array by the memory that it lies in."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from tinygrad_norm import launch
from tinygrad_norm.plan.recorder import Recorder, View


@pytest.fixture
def record():
    """Start a recorder that knows some arrays, by their names."""

    def start(**known):
        recorder = Recorder([(array, name) for name, array in known.items()])
        assert launch.watch(recorder)
        return recorder

    yield start
    launch.unwatch()


def test_arrays_are_views_of_what_holds_them(record):
    x = np.arange(12.0).reshape(3, 4)
    recorder = record(x=x)
    y = launch.launch(np.add, x[1:, ::2], 1.0)
    launch.launch(np.multiply, y.T, 2.0)
    (first, second), (view, _) = recorder.steps, recorder.steps[0].arguments
    assert (view.buffer.source, view.offset, view.shape, view.strides) == ("x", 32, (2, 2), (32, 16))
    assert second.arguments[0].buffer is first.results.buffer
    assert second.arguments[0].strides == (8, 16)
    assert recorder.reason == ""


def test_lifetimes_end_with_the_last_use(record):
    recorder = record(x=np.ones(3))
    y = launch.launch(np.add, np.ones(0), np.ones(0))
    a = launch.empty((3,), np.float64)
    launch.launch(np.copyto, a, 1.0)
    b = launch.launch(np.add, a, 1.0)
    launch.launch(np.add, b, 1.0)
    assert [(each.first, each.last) for each in recorder.buffers if each.used][-3:] == [(1, 2), (2, 3), (3, 3)]
    assert y.size == 0


def test_an_array_of_nobodys_ends_the_recording(record):
    recorder = record()
    launch.launch(np.add, np.ones(3), 1.0)
    assert "add takes an array of shape (3,) that no launch made: make it of tensors by ops" in recorder.reason
    assert "(test_recorder.py:" in recorder.reason
    assert recorder.steps == []


def test_constants_are_kept_as_they_are(record):
    steps = launch.constant(np.arange(6))[1:]
    recorder = record()
    launch.launch(np.add, steps, 1)
    assert recorder.steps[0].arguments[0] is steps


def test_the_method_of_an_array_has_it_as_an_argument(record):
    x = np.arange(6.0).reshape(2, 3)
    recorder = record(x=x)
    assert launch.launch(x.astype, np.float32).dtype == np.float32
    assert launch.launch(x.reshape, 6).base is not None  # a view, which takes no step
    (step,) = recorder.steps
    assert (step.run, type(step.arguments[0])) == (np.ndarray.astype, View)


def test_launches_inside_of_one_are_part_of_it(record):
    x = np.ones(3)
    recorder = record(x=x)

    def outer(x):
        return launch.launch(np.add, launch.launch(np.add, x, 1.0), 1.0)

    np.testing.assert_array_equal(launch.launch(outer, x), [3.0] * 3)
    assert [step.run for step in recorder.steps] == [outer]


def test_what_computes_by_launches_is_seen_and_else_is_one(record):
    x = np.ones(3)
    recorder = record(x=x)

    def by_launches(x):
        return launch.launch(np.add, x, 1.0)

    def partly(x):
        return launch.launch(np.add, x, 1.0) * 2

    def untold(x):
        y = launch.empty(x.shape, x.dtype)
        y[...] = x + 1
        return y

    for function in (by_launches, partly, untold):
        launch.compute(function, x)
    assert [step.run for step in recorder.steps] == [np.add, partly, untold]
    assert all(step.results is not None for step in recorder.steps)


def test_late_arguments_are_kept_with_where_they_come_from(record):
    options = {"lr": 0.5}
    recorder = record(x=np.ones(2))
    x = recorder.buffers  # the array is known by its owner alone
    assert len(x) == 1
    array = launch.launch(np.full, (2,), launch.late(operator.mul, launch.item(options, "lr"), 2.0))
    np.testing.assert_array_equal(array, [1.0, 1.0])
    late = recorder.steps[0].arguments[1]
    options["lr"] = 3.0
    assert late() == 6.0
    assert recorder.read_late == [(options, "lr")]


def test_what_changes_numbers_is_a_step(record):
    counts = [{"step": 0}, {"step": 3}]
    recorder = record()

    def count(dicts):
        for each in dicts:
            each["step"] += 1

    launch.host(count, counts)
    (step,) = recorder.steps
    step.run()
    assert counts == [{"step": 2}, {"step": 5}]
    assert {id(each) for each in counts} <= recorder.changed_by_hosts()


def test_a_number_that_a_launch_returns_may_decide_something(record):
    recorder = record(x=np.ones(2))
    launch.launch(float, 2.0)
    assert "float returns a number" in recorder.reason


def test_one_thread_is_watched_at_a_time(record):
    record()
    assert not launch.watch(Recorder([]))
