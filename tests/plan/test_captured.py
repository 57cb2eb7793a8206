"""`capture`: a replay gives the bits of an eager call, or there is none."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.plan.replays import assert_same, eager_reason
from tinygrad_norm import (
    Tensor,
    capture,
    composed,
    definitions,
    jacobian,
    kernels,
    models,
    nn,
    no_grad,
    ops,
    optim,
    random,
)
from tinygrad_norm.launch import Late
from tinygrad_norm.modes import Hook, hooks
from tinygrad_norm.plan import captured
from tinygrad_norm.plan.report import launches
from tinygrad_norm.plan.trees import leaves, mapped

OPTIMIZERS: dict[str, Any] = {
    "sgd": partial(optim.SGD, lr=0.1),
    "momentum": partial(optim.SGD, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "adam": partial(optim.Adam, amsgrad=True),
    "adamw": optim.AdamW,
    "rmsprop": partial(optim.RMSprop, centered=True, momentum=0.5),
    "maximize": partial(optim.Adam, maximize=True),
}
NETS: dict[str, dict[str, Any]] = {
    "mlp": {},
    "lenet5": {},
    "baseline_cnn": {"width": 0.25},
    "alexnet": {"width": 0.1},
    "vgg16": {"width": 0.1},
    "resnet18": {"width": 0.125},
    "efficientnet_b0": {"width": 0.25},
    "convnext_tiny": {"width": 0.125},
}


def batches(rng, count, shape=(4, 6), classes=3):
    """So many batches of inputs and classes."""
    return [
        (Tensor(rng.normal(size=shape).astype(np.float32)), Tensor(rng.integers(0, classes, shape[0])))
        for _ in range(count)
    ]


def small_net():
    random.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1D(8, activation="relu"), nn.Dropout(0.3), nn.Linear(8, 3))


def training(model, make=optim.AdamW):
    """A training step of a model, and its optimizer."""
    optimizer, loss_function = make(model.parameters()), nn.CrossEntropyLoss()

    def step(x, target):
        optimizer.zero_grad()
        loss = loss_function(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step, optimizer


def state(model, optimizer):
    """Copies of all that a step changes."""
    found = [each.raw.copy() for each in (*model.parameters(), *model.buffers())]
    found += [each.grad.raw.copy() for each in model.parameters()]
    found += [np.copy(each) for one in optimizer.state.values() for each in one.values()]
    return [*found, random.generator().bit_generator.state]


def run_both(make_model, make_optimizer, data, steps):
    """Train twice from one state, eagerly and captured; after each step all is the same."""
    model, twin = make_model(), make_model()
    (step, optimizer), (plain, other) = training(model, make_optimizer), training(twin, make_optimizer)
    fast = capture(plain)
    for number in range(steps):
        x, target = data[number % len(data)]
        random.manual_seed(number)
        loss = step(x, target)
        expected = state(model, optimizer)
        random.manual_seed(number)
        assert_same([fast(x, target).raw, *state(twin, other)], [loss.raw, *expected])
    return fast


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_twenty_steps_have_the_bits_of_eager_ones(make, rng):
    fast = run_both(small_net, make, batches(rng, 5), 20)
    assert (len(fast.plans), fast.why) == (1, "")


@pytest.mark.parametrize("name", NETS)
def test_steps_of_the_zoo_have_the_bits_of_eager_ones(name, rng):
    def make():
        random.manual_seed(3)
        return models.create_model(name, **NETS[name])

    fast = run_both(make, optim.AdamW, batches(rng, 2, (2, 3, 32, 32), 10), 20)
    assert (len(fast.plans), fast.why) == (1, "")
    model = make().eval()
    infer = capture(model)
    with no_grad():
        for x, _ in batches(rng, 4, (2, 3, 32, 32)):
            assert_same([infer(x).raw], [model(x).raw])
    assert infer.why == ""


def test_another_size_of_batch_has_a_plan_of_its_own(rng):
    data = [*batches(rng, 2), *batches(rng, 1, (3, 6))]
    fast = run_both(small_net, optim.AdamW, data, 12)
    assert (len(fast.plans), fast.why) == (2, "")


def test_in_composed_mode_primitives_are_replayed(rng):
    with composed():
        fast = run_both(small_net, optim.AdamW, batches(rng, 3), 6)
    assert fast.why == ""


def test_what_comes_out_is_kept(rng):
    model = small_net().eval()
    fast = capture(model)
    with no_grad():
        data = [x for x, _ in batches(rng, 5)]
        found = [fast(x) for x in data]
        assert_same([y.raw for y in found], [model(x).raw for x in data])
    step, _ = training(small_net())
    fast = capture(step)
    parameter = fast.function.__closure__  # the gradients of five steps are five arrays
    model = next(cell.cell_contents for cell in parameter if isinstance(cell.cell_contents, nn.Module))
    kept, copies = [], []
    for x, target in batches(rng, 5):
        fast(x, target)
        kept.append([each.grad for each in model.parameters()])
        copies.append([each.grad.raw.copy() for each in model.parameters()])
    for tensors, arrays in zip(kept, copies, strict=True):
        assert_same([each.raw for each in tensors], arrays)


def test_large_outputs_and_inputs_are_kept_too(rng):
    fast = capture(lambda x: ops.exp(x) + 1)
    data = [Tensor(rng.normal(size=(100, 100)).astype(np.float32)) for _ in range(4)]
    found = [fast(x) for x in data]
    assert fast.why == ""
    assert_same([y.raw for y in found], [(ops.exp(x) + 1).raw for x in data])


def test_arrays_numbers_lists_and_dicts_go_in_and_out(rng):
    @capture
    def function(arrays, scale, *, shift):
        x, y = arrays
        return {"sum": [x + y, scale], "y": (y * scale + shift).raw}

    for scale in (2.0, 2.0, 3.0, 2.0):
        x, y = rng.normal(size=(2, 5))
        found = function([Tensor(x), Tensor(y)], scale, shift=1.0)
        assert_same([found["sum"][0].raw, found["sum"][1], found["y"]], [x + y, scale, y * scale + 1])
    assert (len(function.plans), function.why) == (2, "")


# What depends on more than the arguments


def test_training_and_inference_have_plans_of_their_own(rng):
    model = small_net()
    fast = capture(model)
    with no_grad():
        for train in (True, False, True, False, False):
            model.train(train)
            twin = copy.deepcopy(model)
            (x, _), *_ = batches(rng, 1)
            random.manual_seed(0)
            expected = twin(x).raw
            random.manual_seed(0)
            assert_same([fast(x).raw], [expected])
    assert (len(fast.plans), fast.why) == (2, "")


def test_options_and_parameters_may_change_between_steps(rng):
    model, twin = small_net(), small_net()
    (step, optimizer), (plain, other) = training(model), training(twin)
    fast = capture(plain)
    for number, (x, target) in enumerate(batches(rng, 8)):
        for each in (optimizer, other):
            each.param_groups[0]["lr"] = 0.01 * (number + 1)
        if number == 4:
            for each in (model, twin):
                each.load_state_dict({name: value + 1 for name, value in each.state_dict().items()})
        random.manual_seed(number)
        loss = step(x, target)
        random.manual_seed(number)
        assert_same([fast(x, target).raw], [loss.raw])
    assert_same(state(twin, other), state(model, optimizer))
    assert fast.why == ""


def test_a_sum_over_several_runs_of_images_is_replayed(rng, monkeypatch):
    if kernels._use_cpu:
        monkeypatch.setattr("tinygrad_norm.kernels.cpu.winograd._BLOCK", 2**14)

    def make():
        random.manual_seed(2)
        return nn.Sequential(nn.Conv2D(16, 16, 3, padding=1), nn.Flatten(), nn.Linear(16 * 16 * 16, 3))

    fast = run_both(make, optim.AdamW, batches(rng, 2, (4, 16, 16, 16)), 5)
    assert fast.why == ""


def test_groups_with_other_options_and_steps_stay_apart(rng):
    """Parameters of several groups, one of which began later, are moved by one launch."""
    model, twin = small_net(), small_net()

    def grouped(parameters):
        first, *others = parameters
        return optim.AdamW([{"params": [first], "lr": 0.1}, {"params": others, "weight_decay": 0.0}], amsgrad=True)

    (step, optimizer), (plain, other) = training(model, grouped), training(twin, grouped)
    fast = capture(plain)
    for number, (x, target) in enumerate(batches(rng, 9)):
        for each in (optimizer, other):
            each.param_groups[number % 2]["lr"] *= 0.5
            if number == 4:
                next(iter(each.state.values()))["step"] += 3
        random.manual_seed(number)
        step(x, target)
        random.manual_seed(number)
        fast(x, target)
        assert_same(state(twin, other), state(model, optimizer))
    assert fast.why == ""
    if kernels._use_cpu:
        assert [len({*map(tuple, fast.plan.joined.values())}), len(fast.plan.joined)] == [1, 6]
        assert sum(" with " in line for line in str(fast.plan).splitlines()) == 5


def test_a_large_update_stays_apart(rng):
    random.manual_seed(0)
    model = nn.Sequential(nn.Linear(600, 500), nn.Linear(500, 3))
    optimizer = optim.SGD(model.parameters(), 0.1)

    def step(x, target):
        ops.cross_entropy(model(x), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    fast = capture(step)
    for x, target in batches(rng, 4, (4, 600)):
        fast(x, target)
    assert fast.why == ""
    found = [each.name for each in launches(fast.plan) if each.name in ("sgd", "with_names")]  # in NumPy
    joined = {number for numbers in fast.plan.joined.values() for number in numbers}
    assert len(found) == 4
    assert len(joined) == (3 if kernels.of(x.raw) is not definitions else 0)


def test_a_layer_frozen_later_is_noticed(rng):
    model, twin = small_net(), small_net()
    (step, _), (plain, _) = training(model), training(twin)
    fast = capture(plain)
    for number, (x, target) in enumerate(batches(rng, 8)):
        if number == 4:
            model.get_submodule("0").requires_grad_(False)
            twin.get_submodule("0").requires_grad_(False)
        random.manual_seed(number)
        step(x, target)
        random.manual_seed(number)
        fast(x, target)
        assert_same([each.raw for each in twin.parameters()], [each.raw for each in model.parameters()])
    assert fast.why == ""


SCALE = 2.0


def test_numbers_of_outside_are_compared(rng):
    factor = 3.0
    holder = {"shift": 1.0, "list": [0.5]}

    @capture
    def function(x):
        return x * factor * SCALE + holder["shift"] + sum(holder["list"])

    global SCALE
    x = Tensor(rng.normal(size=5))
    for change in ("nothing", "nothing", "cell", "global", "dict", "list", "nothing"):
        factor += change == "cell"
        SCALE += change == "global"
        holder["shift"] += change == "dict"
        holder["list"] += [1.0] * (change == "list")
        expected = x.raw * factor * SCALE + holder["shift"] + sum(holder["list"])
        np.testing.assert_allclose(function(x).raw, expected, rtol=1e-12)
    assert function.why == ""


def test_arrays_of_outside_are_read_anew(rng):
    offset = Tensor(rng.normal(size=5))
    function = capture(lambda x: x + offset)
    x = Tensor(rng.normal(size=5))
    for _ in range(4):
        offset += 1.0
        assert_same([function(x).raw], [x.raw + offset.raw])
    assert function.why == ""
    array = rng.normal(size=5)
    function, x = capture(lambda x: x + Tensor(array)), Tensor(rng.normal(size=5))
    for _ in range(4):
        array += 1.0
        assert_same([function(x).raw], [x.raw + array])
    array = rng.normal(size=5)
    assert_same([function(x).raw], [x.raw + array])
    assert function.why == "it was recorded"
    function = capture(lambda x: x + offset)
    function(x)
    offset.replace(rng.normal(size=5))
    assert_same([function(x).raw], [x.raw + offset.raw])


def test_a_jacobian_is_replayed(rng):
    def function(x):
        return jacobian(lambda x: ops.exp(x) * x.sum(), x)

    fast = capture(function)
    for _ in range(4):
        x = Tensor(rng.normal(size=3))
        assert_same([fast(x).raw], [function(x).raw])
    assert fast.why == ""


# What cannot be replayed


def test_reading_a_value_keeps_a_function_eager_and_names_the_line():
    def function(x):
        return x * x.sum().item()

    assert "item() reads elements of a tensor (test_captured.py:" in eager_reason(function, Tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    "read",
    [float, bool, repr, lambda x: x.tolist(), lambda x: x.data, lambda x: x.numpy(), np.asarray, lambda x: 1.0 in x],
)
def test_every_way_to_read_is_seen(read):
    assert "reads elements" in eager_reason(lambda x: (read(x.sum()), x + 1)[1], Tensor([1.0, 2.0]))


def test_what_python_changes_keeps_a_function_eager():
    count, seen, model = 0, [], nn.Linear(2, 2)

    def counts(x):
        nonlocal count
        count += 1
        return x + count

    def appends(x):
        seen.append(1)
        return x + len(seen)

    def assigns(x):
        model.times = getattr(model, "times", 0) + 1
        return x + model.times

    x = Tensor([1.0])
    for function, below in ((counts, 2), (appends, 1), (assigns, 1)):
        reason, line = eager_reason(function, x), function.__code__.co_firstlineno + below
        assert "it changes" in reason
        assert reason.endswith(f"(test_captured.py:{line})")
    assert (count, len(seen), model.times) == (5, 5, 5)


def test_an_array_of_nobodys_keeps_a_function_eager(rng):
    assert "no launch made" in eager_reason(lambda x: x + Tensor.wrap(rng.normal(size=2)), Tensor(np.ones(2)))


def test_strict_makes_an_error_of_an_eager_call():
    fast = capture(lambda x: x * x.sum().item(), strict=True)
    for _ in range(2):
        fast(Tensor([1.0]))
    with pytest.raises(RuntimeError, match=r"item\(\) reads elements.*strict"):
        fast(Tensor([1.0]))
    with pytest.raises(TypeError, match="capture: a model or a function, got int"):
        capture(3)


def test_hooks_see_each_op(rng):
    seen = []

    class Counts(Hook):
        def after_forward(self, op, inputs, output):
            seen.append(op)

    fast, x = capture(lambda x: x + 1), Tensor([1.0])
    for _ in range(3):
        fast(x)
    with hooks(Counts()):
        fast(x)
    assert (len(seen), fast.why) == (1, "hooks see each op")
    fast(x)
    assert fast.why == ""


# Arguments


def test_gradients_of_arguments_are_given_to_them(rng):
    @capture
    def function(x):
        loss = (x * x * x).sum()
        loss.backward()
        return loss.detach()

    for _ in range(5):
        x = Tensor(rng.normal(size=4), requires_grad=True)
        function(x)
        np.testing.assert_allclose(x.grad.raw, 3 * x.raw**2, rtol=1e-14)
    assert function.why == ""
    for times in (2, 3):  # and added to those that are there
        function(x)
        np.testing.assert_allclose(x.grad.raw, times * 3 * x.raw**2, rtol=1e-14)


def test_gradients_that_nobody_forgets_are_added_to(rng):
    weight = Tensor(np.ones(3), requires_grad=True)
    total = np.zeros(3)

    @capture
    def function(x):
        (weight * x).sum().backward()

    for _ in range(6):
        x = rng.normal(size=3)
        function(Tensor(x))
        total += x
        assert_same([weight.grad.raw], [total])
    assert function.why == ""


def test_an_argument_may_be_changed_in_place(rng):
    @capture
    @no_grad()
    def function(x):
        x *= 2.0
        return x + 1

    for _ in range(5):
        x = Tensor(rng.normal(size=4))
        before = x.raw.copy()
        y = function(x)
        assert_same([x.raw, y.raw], [2 * before, 2 * before + 1])
    assert function.why == ""


def test_what_is_returned_of_an_argument_shares_its_memory(rng):
    fast = capture(lambda x: (x, x.reshape(-1), x[1:]))
    for _ in range(4):
        x = Tensor(rng.normal(size=(3, 4)))
        found = fast(x)
        assert all(np.shares_memory(each.raw, x.raw) for each in found)
        assert_same([each.raw for each in found], [x.raw, x.raw.reshape(-1), x.raw[1:]])
    assert fast.why == ""
    gaps = rng.normal(size=(6, 4))[::2]
    assert_same([each.raw for each in fast(Tensor.wrap(gaps))], [gaps, gaps.reshape(-1), gaps[1:]])
    assert "do not follow each other" in fast.why


def test_gradients_and_hooks_that_are_there_count_where_the_step_forgets_afterwards(rng):
    def make():
        w = Tensor(np.ones(3), requires_grad=True)
        optimizer = optim.SGD([w], lr=0.1)

        def step(x):
            (w * x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        return w, step

    (w, step), (twin, plain) = make(), make()
    fast = capture(plain)
    for number in range(8):
        x = Tensor(rng.normal(size=3))
        for each in (w, twin):
            if number == 3:
                (each * 100.0).sum().backward()
            if number == 5:
                each.register_hook(lambda grad: grad * 10)
        step(x), fast(x)
        assert_same([twin.raw], [w.raw])


def test_what_hooks_reach_is_compared(rng):
    w, scale = Tensor(np.ones(3), requires_grad=True), {"by": 1.0}
    w.register_hook(lambda grad: grad * scale["by"])

    @capture
    def function(x):
        w.grad = None
        (w * x).sum().backward()

    for number in range(8):
        scale["by"] = 1.0 + (number > 4)
        x = Tensor(rng.normal(size=3))
        function(x)
        assert_same([w.grad.raw], [x.raw * scale["by"]])


def test_an_argument_that_a_later_call_reaches_as_well(rng):
    w = Tensor(np.ones(2))
    fast = capture(lambda x: w * x)
    x = Tensor(rng.normal(size=2))
    for each in (x, x, x, w, x):
        assert_same([fast(each).raw], [w.raw * each.raw])


def test_an_error_that_is_caught_inside_keeps_a_function_eager(rng):
    def function(x, target):
        try:
            return ops.cross_entropy(x, target)
        except ValueError:
            return x.sum() * 0

    fast, x = capture(function), Tensor(rng.normal(size=(2, 3)))
    for label in (7, 7, 7, 1, 1, 7, 7):
        target = Tensor(np.full(2, label))
        assert_same([fast(x, target).raw], [function(x, target).raw])


def test_methods_classes_and_slots_are_reached(rng):
    class Holder:
        __slots__ = ("number",)
        number: float

    class Model:
        factor = 2.0

        def __init__(self):
            self.holder = Holder()
            self.holder.number = 1.0

        def helper(self, x):
            return x * self.factor * SCALE + self.holder.number

        def __call__(self, x):
            return self.helper(x)

    global SCALE
    model, x = Model(), Tensor(rng.normal(size=2))
    fast = capture(model)
    for change in ("", "", "class", "", "slot", "", "global", ""):
        Model.factor += change == "class"
        model.holder.number += change == "slot"
        SCALE += change == "global"
        assert_same([fast(x).raw], [model(x).raw])


def test_numbers_drawn_by_python_keep_a_function_eager(rng):
    own = np.random.default_rng(3)
    assert "random numbers" in eager_reason(lambda x: x + float(own.random()), Tensor([1.0]))


def test_what_always_changes_is_eager_in_the_end():
    fast = capture(lambda x, number: x * number)
    for number in range(40):
        fast(Tensor([1.0]), number)
    assert "it was recorded 24 times in 40 calls: shapes or numbers that it depends on change too often" in fast.why


def test_what_changes_every_few_calls_is_not_recorded_each_time(monkeypatch):
    monkeypatch.setattr(captured, "_RECORDINGS", 3)
    monkeypatch.setattr(captured, "_CALLS_EACH", 20)
    number = 0
    fast = capture(lambda x: x * number)
    recorded = []
    for call in range(1, 101):
        number = call // 3 if call < 80 else -1
        assert fast(Tensor([1.0])).item() == number
        if fast.why == "it was recorded":
            recorded.append(call)
    assert recorded == [1, 3, 6, 20, 40, 60, 80]
    assert fast.why == ""


def test_a_reason_names_what_changes_of_what_is_given():
    def counts(counter, x):
        counter.calls += 1
        return x * counter.calls

    counter = nn.Identity()
    counter.calls = 0
    assert eager_reason(counts, counter, Tensor([1.0])).startswith("it changes 'calls' of what it is given")


# Its face


def test_it_decorates_methods_and_keeps_its_name():
    class Twice:
        def __init__(self, factor):
            self.factor = factor

        @capture
        def run(self, x):
            """Multiply."""
            return x * self.factor

    one, other, x = Twice(2.0), Twice(3.0), Tensor([1.0, 2.0])
    for _ in range(3):
        assert_same([one.run(x).raw, other.run(x).raw], [2 * x.raw, 3 * x.raw])
    assert one.run is one.run
    assert one.run is not other.run
    named: Any = Twice.run
    assert (named.__name__, named.__doc__) == ("run", "Multiply.")
    assert one.run.why == ""


def test_a_deep_copy_makes_plans_of_its_own(rng):
    model = nn.Linear(3, 2)
    fast = capture(model)
    x = Tensor(rng.normal(size=(2, 3)).astype(np.float32))
    with no_grad():
        fast(x), fast(x)
        twin: Any = copy.deepcopy(fast)
        assert (len(fast.plans), len(twin.plans)) == (1, 0)
        twin.function.weight.replace(twin.function.weight.raw * 2)
        assert_same([fast(x).raw, twin(x).raw, twin(x).raw], [model(x).raw, *[twin.function(x).raw] * 2])


@capture
def doubles(x):
    return x * 2.0


class Runs:
    """Holds what was captured of itself, as a trainer does."""

    def __init__(self):
        self.factor = 2.0
        self.fast = capture(self.step, strict=True)

    def step(self, x):
        return x * self.factor


def test_what_holds_one_is_pickled_and_copied():
    assert pickle.loads(pickle.dumps(doubles)) is doubles
    one, x = Runs(), Tensor([1.0])
    one.fast(x)
    for twin in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        twin.factor = 3.0
        assert (len(one.fast.plans), len(twin.fast.plans), twin.fast.strict) == (1, 0, True)
        assert [each.fast(x).item() for each in (one, twin, twin)] == [2.0, 3.0, 3.0]
    shallow: Any = copy.copy(one.fast)
    assert shallow.function.__self__ is one


class Doubles:
    def __init__(self, factor=2.0):
        self.factor = factor

    @capture
    def step(self, x):
        return x * self.factor

    one = capture(lambda self, x: x + 1.0)
    two = capture(lambda self, x: x + 2.0)


class AddsOne(Doubles):
    @capture
    def step(self, x):
        return super().step(x) + 1.0


def test_methods_of_one_name_are_several_and_a_copy_has_its_own():
    x, of = Tensor([1.0]), AddsOne()
    for _ in range(4):
        assert [each(x).item() for each in (of.step, of.one, of.two)] == [3.0, 2.0, 3.0]
    assert [each.why for each in (of.step, of.one, of.two)] == [""] * 3
    twin = copy.copy(of)
    twin.factor = 5.0
    for _ in range(4):
        assert [each.step(x).item() for each in (twin, of)] == [6.0, 3.0]


def test_there_are_few_plans(rng):
    fast = capture(lambda x: x + 1)
    for size in range(1, 12):
        fast(Tensor(np.ones(size)))
    assert len(fast.plans) == captured._PLANS
    assert fast(Tensor(np.ones(1))).size == 1


def test_two_threads_get_their_own_results(rng):
    fast = capture(lambda x: ops.exp(x * 2).sum())
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(200):
            x = rng.normal(size=500)
            if not np.array_equal(fast(Tensor(x)).raw, ops.exp(Tensor(x) * 2).sum().raw):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


def test_a_function_may_call_itself_and_fork(rng):
    children: list[int] = []

    @capture
    def function(x, depth):
        if depth:
            return function(x, depth - 1) * 2.0
        if not children:
            children.append(os.fork())
            if not children[0]:
                os._exit(0)
        return x + 1.0

    for _ in range(4):
        assert function(Tensor([1.0]), 2).item() == 8.0
    assert os.waitpid(children[0], 0)[1] == 0


def test_one_inside_of_another_is_part_of_its_plan(rng):
    inner = capture(lambda x: x * 2, strict=True)
    outer = capture(lambda x: inner(x) + 1)
    for _ in range(4):
        x = Tensor(rng.normal(size=3))
        assert_same([outer(x).raw], [x.raw * 2 + 1])
    assert outer.why == ""


def test_an_error_of_a_replay_is_that_of_the_eager_call(rng):
    step, _ = training(small_net())
    fast = capture(step)
    for x, target in batches(rng, 6):
        fast(x, target)
    assert fast.why == ""
    with pytest.raises(ValueError, match="cross_entropy: a class is from 0 to 2"):
        fast(x, Tensor(np.full(4, 7)))
    fast(x, target)
    assert fast.why == ""


@pytest.mark.parametrize("number", range(8))
def test_after_an_error_all_is_as_after_the_eager_call(number, rng):
    model, twin = small_net(), small_net()
    (step, optimizer), (plain, other) = training(model), training(twin)
    fast, data = capture(plain), batches(rng, 9)
    data[number] = data[number][0], Tensor(np.full(4, 7))
    for seed, (x, target) in enumerate(data):
        found = []
        for run, net, its in ((step, model, optimizer), (fast, twin, other)):
            random.manual_seed(seed)
            try:
                found.append([run(x, target).raw])
            except ValueError as error:
                found.append([str(error)])
            grads = [each.grad if each.grad is None else each.grad.raw for each in net.parameters()]
            found[-1] += [each.raw.copy() for each in (*net.parameters(), *net.buffers())]
            found[-1] += [grads, its.state_dict(), random.state_dict()]
        assert_same(*found)
    assert fast.why == ""


# A wrong plan is noticed


def name_of(step):
    """The name of the kernel or the function that a step calls."""
    return getattr(getattr(step.run, "serial", step.run), "__name__", "")


def faults():
    def without_a_launch(plan):
        number = next(i for i, step in enumerate(plan.steps) if "adam" in name_of(step) or "names" in name_of(step))
        plan._calls[number] = (lambda: None, ())
        plan._anew = [each for each in plan._anew if each != number]

    def overlapping(plan):
        small = sorted({each.offset for each in plan.used if each.offset >= 0})
        for each in plan.used:
            if each.offset == small[-1]:
                each.offset = small[0]
        plan._calls = [plan._call(step) if plan._calls[i][1] else plan._calls[i] for i, step in enumerate(plan.steps)]

    def stale_rate(plan):
        for number, step in enumerate(plan.steps):
            if any(type(each) is Late for each in leaves(step.arguments)):
                values = mapped(lambda each: each() if type(each) is Late else each, step.arguments)
                plan.steps[number] = step = type(step)(step.run, values, step.results, step.scope)
                plan._calls[number] = plan._call(step)

    return [without_a_launch, overlapping, stale_rate]


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.__name__)
def test_a_broken_plan_is_found_in_a_trial(fault, rng):
    step, optimizer = training(small_net())
    fast = capture(step)
    data = batches(rng, 12)
    for number, (x, target) in enumerate(data):
        if number == 3:
            fault(fast.plan)
        optimizer.param_groups[0]["lr"] *= 0.5
        fast(x, target)
    assert not fast.plans
    assert "gave something else" in fast.why


def test_a_generator_that_is_not_advanced_is_found(rng):
    step, _ = training(small_net())
    fast = capture(step)
    for number, (x, target) in enumerate(batches(rng, 12)):
        if number == 3:
            for i, each in enumerate(fast.plan.steps):
                if name_of(each) == "_factor":
                    fast.plan._calls[i] = (lambda: None, ())
        fast(x, target)
    assert not fast.plans


def test_memory_is_given_back_after_each_trial_and_no_other_call(monkeypatch):
    calls: list[str] = []
    monkeypatch.setattr(captured, "give_back", lambda: calls.append("given back"))
    fast = capture(lambda x: x * 2.0)
    for _ in range(5):
        fast(Tensor([1.0]))
        calls.append("called")
    assert calls == ["called", "given back", "called", "called", "given back", "called", "called"]
