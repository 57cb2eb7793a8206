"""What depends on parameters alone is computed once, and never stale."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tinygrad_norm import Tensor, capture, integrity, kernels, launch, nn, no_grad, ops, optim
from tinygrad_norm.plan import settled as of_parameters
from tinygrad_norm.plan.settled import settled


class Doubling:
    """Counts its calls, where no plan looks for what changes."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x * 2

    def reached(self):
        return []


doubled = Doubling()


def launched(run, x, *arguments):
    """A tensor by one launch, which nobody writes afterwards."""
    return Tensor.wrap(launch.prepared(launch.launch, run, x.raw, *arguments))


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.arange(6, dtype=np.float32).reshape(2, 3))

    def forward(self, x):
        return launched(doubled, self.weight) + x


def calls_of(function, *arguments):
    """What a function returns, and how often it doubled."""
    before = doubled.calls
    with no_grad():
        found = function(*arguments)
    return found.raw, doubled.calls - before


@pytest.fixture
def model():
    return Weighted()


@pytest.fixture
def fast(model):
    """The model, after 8 calls, of which some are trials; the next one is the 16th."""
    fast = capture(model)
    with no_grad():
        for _ in range(8):
            fast(Tensor(np.zeros((2, 3), np.float32)))
    assert fast.why == ""
    return fast


@pytest.fixture
def x(rng):
    return Tensor(rng.normal(size=(2, 3)).astype(np.float32))


def test_a_replay_leaves_out_what_depends_on_parameters_alone(model, fast, x):
    for _ in range(3):
        found, calls = calls_of(fast, x)
        np.testing.assert_array_equal(found, 2 * model.weight.raw + x.raw)
        assert calls == 0
    assert [len(fast.plan.settled.steps), len(fast.plan.settled.lasting)] == [1, 1]


def add_in_place(model):
    model.weight += 1


def step(model):
    model.weight.grad = Tensor(np.ones((2, 3), np.float32))
    optim.SGD(model.parameters(), lr=0.5).step()
    model.weight.grad = None


def write_through_a_view(model):
    model.weight.data[1:, :1] += 3


CHANGES = {
    "in place": no_grad()(add_in_place),
    "one element": no_grad()(lambda model: model.weight.__setitem__((0, 1), 7.0)),
    "an optimizer": step,
    "an initialization": lambda model: nn.init.normal_(model.weight),
    "data": write_through_a_view,
    "numpy": lambda model: np.add(model.weight.numpy(), 1, out=model.weight.numpy()),
    "another array": lambda model: setattr(model.weight, "data", np.ones((2, 3), np.float32)),
    "a state": lambda model: model.load_state_dict({"weight": np.full((2, 3), 5, np.float32)}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_parameter_is_noticed(change, model, fast, x):
    before = model.weight.raw.copy()
    for _ in range(2):
        change(model)
        assert not np.array_equal(model.weight.raw, before)
        before = model.weight.raw.copy()
        for calls in (1, 0, 0):
            found, made = calls_of(fast, x)
            np.testing.assert_array_equal(found, 2 * model.weight.raw + x.raw)
            assert made == calls
        change = CHANGES["in place"]


def test_what_somebody_holds_is_read_at_each_replay(model, fast, x):
    held = model.weight.data
    for number in range(3):
        held[0, 0] = number
        found, calls = calls_of(fast, x)
        np.testing.assert_array_equal(found, 2 * held + x.raw)
        assert calls == 1
    held[0, 0] = -1
    del held
    assert [calls_of(fast, x)[1] for _ in range(3)] == [1, 0, 0]


def test_after_an_error_it_is_computed_again(model, fast, x):
    labels = Tensor(np.array([0, 1]))

    def function(x, labels):  # the error is before what is settled
        return ops.cross_entropy(x, labels) + launched(doubled, model.weight)

    held = capture(function)
    for _ in range(3):
        calls_of(held, x, labels)
    model.weight.replace(np.full((2, 3), 4, np.float32))
    with pytest.raises(ValueError, match="a class is from 0 to 2"):
        calls_of(held, x, Tensor(np.array([0, 9])))
    found, _ = calls_of(held, x, labels)
    np.testing.assert_array_equal(found, function(x, labels).raw)


def test_what_a_plan_changes_itself_is_not_settled(x):
    model = Weighted()

    @capture
    def step(x):
        with no_grad():
            y = launched(doubled, model.weight)
            model.weight += 1
            return y + launched(doubled, model.weight) + x

    for number in range(6):
        start = np.arange(6, dtype=np.float32).reshape(2, 3) + number
        np.testing.assert_array_equal(step(x).raw, 2 * start + 2 * (start + 1) + x.raw)
    assert (step.why, step.plan.settled.steps) == ("", [])


def test_what_is_changed_in_place_later_is_not_settled(x):
    model = Weighted()

    def function(x):
        y = launched(doubled, model.weight)
        y += x
        return y * 1

    fast = capture(function)
    for _ in range(6):
        np.testing.assert_array_equal(calls_of(fast, x)[0], 2 * model.weight.raw + x.raw)
    assert fast.plan.settled.lasting == []


def test_what_somebody_says_is_written_is_not_settled(x):
    model = Weighted()

    def function(x):
        y = launched(doubled, model.weight)
        launch.launch(np.subtract, y.raw, x.raw, y.raw)
        launch.wrote(y.raw)
        return y * 1

    fast = capture(function)
    for _ in range(6):
        np.testing.assert_array_equal(calls_of(fast, x)[0], 2 * model.weight.raw - x.raw)
    assert fast.plan.settled.lasting == []


def test_a_result_that_is_returned_is_settled_too(model, x):
    fast = capture(lambda x: (launched(doubled, model.weight), x * 2)[0])
    with no_grad():
        kept = [fast(x) for _ in range(6)]
        kept[5] += 1
        np.testing.assert_array_equal(fast(x).raw, 2 * model.weight.raw)
    assert not any(np.shares_memory(kept[4].raw, each.raw) for each in (kept[3], kept[5]))


def test_a_copy_of_what_was_captured_settles_by_itself(model, fast, x):
    twin = copy.deepcopy(fast)
    twin.function.weight.replace(model.weight.raw + 1)
    for _ in range(5):
        np.testing.assert_array_equal(calls_of(twin, x)[0], 2 * (model.weight.raw + 1) + x.raw)
        np.testing.assert_array_equal(calls_of(fast, x)[0], 2 * model.weight.raw + x.raw)


def test_a_stale_one_is_found_by_a_trial(model, fast, x):
    calls_of(fast, x)
    model.weight.raw[...] += 1  # which nobody is told of
    for _ in range(7):
        found, _ = calls_of(fast, x)
    np.testing.assert_array_equal(found, 2 * model.weight.raw + x.raw)  # the 16th call
    assert "gave something else than an eager call: what it returns" in fast.why


def test_a_result_lies_apart_from_all_others(rng):
    model = nn.Sequential(*(Weighted() for _ in range(3)))
    fast, x = capture(model), Tensor(np.zeros((2, 3), np.float32))
    with no_grad():
        fast(x)
    plan = fast.plan
    lasting = {id(each) for each in plan.settled.lasting}
    assert len(lasting) == 3
    own = [each for each in plan.used if each.source is None and each.offset >= 0]
    for one in (each for each in own if id(each) in lasting):
        for other in own:
            assert other is one or other.offset >= one.offset + one.nbytes or one.offset >= other.offset + other.nbytes


def test_what_is_much_larger_than_its_parameters_is_not_kept(monkeypatch, model, x):
    row = Tensor(np.ones(3, np.float32))
    fast = capture(lambda x: x + launched(np.resize, row, (2, 3)))
    for limit, count in ((24, 1), (23, 0)):
        monkeypatch.setattr(of_parameters, "_LARGEST", limit)
        plan = capture(fast.function)
        with no_grad():
            plan(x)
        assert len(plan.plan.settled.lasting) == count, limit


def test_a_part_is_compared_with_the_part_that_it_is_made_of(monkeypatch):
    monkeypatch.setattr(of_parameters, "_LARGEST", 0)
    many, x = Tensor(np.ones((8, 3), np.float32)), Tensor(np.ones((2, 3), np.float32))
    for run, shape, count in ((np.resize, (2, 3), 0), (np.negative, None, 1)):
        fast = capture(lambda x, run=run, shape=shape: x + launched(run, many[:1], *[shape] if shape else []))
        with no_grad():
            fast(x)
        assert len(fast.plan.settled.lasting) == count


def test_filters_are_transformed_once(rng):
    model = nn.Conv2D(16, 16, 3, padding=1, bias=False)
    fast = capture(model)
    with no_grad():
        for number in range(12):
            if number % 3 == 2:
                nn.init.normal_(model.weight)
            x = Tensor(rng.normal(size=(1, 16, 32, 32)).astype(np.float32))
            assert fast(x).raw.tobytes() == model(x).raw.tobytes()
    assert fast.why == ""
    once = [line for line in str(fast.plan).splitlines() if " once " in line]
    assert ["transform_filters" in line for line in once] == [True] * kernels._use_cpu  # in NumPy an op is one launch


def test_weights_that_are_computed_are_computed_once(rng):
    model = nn.Linear(6, 4)
    nn.parametrizations.weight_standardization(model)
    fast = capture(model)
    with no_grad():
        for number in range(12):
            if number % 3 == 2:
                model.load_state_dict({k: v + rng.normal(size=v.shape) for k, v in model.state_dict().items()})
            x = Tensor(rng.normal(size=(2, 6)).astype(np.float32))
            assert fast(x).raw.tobytes() == model(x).raw.tobytes()
    assert fast.why == ""
    assert [each.shape for each in fast.plan.settled.lasting] == [(4, 6)] * kernels._use_cpu
    assert fast.plan.memory_of_parameters() == 96 * kernels._use_cpu


def test_in_training_nothing_is_settled_that_an_optimizer_moves(rng):
    model = nn.Sequential(nn.Conv2D(16, 16, 3, padding=1), nn.Flatten(), nn.Linear(16 * 64, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @capture
    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    for _ in range(3):
        step(Tensor(rng.normal(size=(2, 16, 8, 8)).astype(np.float32)))
    assert step.plan is not None
    moved = [view.buffer for one in step.plan.steps if one.run is integrity.mark_changed for view in one.arguments]
    assert len(moved) == 4
    assert not {id(each) for each in step.plan.settled.parameters} & {id(each) for each in moved}


def test_of_no_steps_none_is_settled():
    assert settled([], set(), set()) == ([], [], [])
