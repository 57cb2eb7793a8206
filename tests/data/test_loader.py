from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from tinygrad_norm.data import ArrayDataset, DataLoader


def numbers(count: int) -> ArrayDataset:
    """Examples that know their own number: input i is (i, -i), target i is i."""
    index = np.arange(count)
    return ArrayDataset(np.stack([index, -index], axis=1).astype(np.float32), index)


def jitter(inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return inputs + rng.random(inputs.shape, np.float32)


def epoch_of(loader: DataLoader) -> list[list[int]]:
    return [targets.tolist() for _, targets in loader]


def rest_of(loader: DataLoader) -> list[list[int]]:
    return [targets.tolist() for _, targets in loader.resume()]


def order_of(loader: DataLoader) -> list[int]:
    return list(itertools.chain.from_iterable(epoch_of(loader)))


# Batches


@pytest.mark.parametrize(
    ("count", "drop_last", "expected"),
    [
        (7, False, [[0, 1, 2], [3, 4, 5], [6]]),
        (7, True, [[0, 1, 2], [3, 4, 5]]),
        (6, False, [[0, 1, 2], [3, 4, 5]]),
        (6, True, [[0, 1, 2], [3, 4, 5]]),
        (2, False, [[0, 1]]),
        (3, True, [[0, 1, 2]]),
    ],
)
def test_without_shuffling_batches_follow_the_data(count, drop_last, expected):
    loader = DataLoader(numbers(count), batch_size=3, drop_last=drop_last)
    assert len(loader) == len(expected)
    assert epoch_of(loader) == epoch_of(loader) == expected


def test_inputs_and_targets_belong_together():
    for inputs, targets in DataLoader(numbers(11), batch_size=4, shuffle=True):
        np.testing.assert_array_equal(inputs, np.stack([targets, -targets], axis=1))
        assert inputs.dtype == np.float32
        assert targets.dtype == np.int64


@pytest.mark.parametrize("shuffle", [False, True])
def test_arrays_are_contiguous_and_fresh(shuffle):
    images = np.random.default_rng(0).normal(size=(6, 4, 5, 3)).transpose(0, 3, 1, 2)
    dataset = ArrayDataset(np.asfortranarray(images), np.arange(6))
    loader = DataLoader(dataset, batch_size=6, shuffle=shuffle)
    ((inputs, targets),) = loader
    assert inputs.flags.c_contiguous
    np.testing.assert_array_equal(inputs, images[targets])
    inputs[:], targets[:] = 7, 7
    np.testing.assert_array_equal(dataset.inputs, images)
    np.testing.assert_array_equal(dataset.targets, np.arange(6))


def test_a_data_set_may_have_any_number_of_arrays():
    class Triples:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: np.ndarray) -> tuple[np.ndarray, ...]:
            return index, index * 10, index * 100

    batches = [[array.tolist() for array in batch] for batch in DataLoader(Triples(), batch_size=3)]
    assert batches == [[[0, 1, 2], [0, 10, 20], [0, 100, 200]], [[3, 4], [30, 40], [300, 400]]]


def test_a_data_set_that_returns_a_bare_array_is_refused():
    class Alone:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: np.ndarray) -> Any:
            return np.zeros((4, 2))[index]

    with pytest.raises(TypeError, match="returns is a tuple of arrays, got ndarray"):
        next(iter(DataLoader(Alone(), batch_size=2)))


# Order


def test_a_shuffled_epoch_holds_every_example_once_in_an_order_of_its_own():
    loader = DataLoader(numbers(50), batch_size=8, shuffle=True, seed=3)
    epochs = [order_of(loader) for _ in range(4)]
    assert all(sorted(order) == list(range(50)) for order in epochs)
    other_seed = order_of(DataLoader(numbers(50), batch_size=8, shuffle=True, seed=4))
    for one, other in itertools.combinations([*epochs, other_seed, list(range(50))], 2):
        assert one != other


def test_the_order_depends_on_seed_and_epoch_alone():
    first = DataLoader(numbers(20), batch_size=3, shuffle=True, seed=1, transform=jitter)
    history = [order_of(first) for _ in range(3)]
    np.random.default_rng(0).random()
    second = DataLoader(numbers(20), batch_size=5, shuffle=True, seed=1)
    second.epoch = 2
    assert order_of(second) == history[2]


def test_drop_last_leaves_out_other_examples_each_epoch():
    loader = DataLoader(numbers(7), batch_size=3, shuffle=True, drop_last=True)
    left_out = {(set(range(7)) - set(order_of(loader))).pop() for _ in range(40)}
    assert left_out == set(range(7))


# Transform


def test_a_transform_gets_a_generator_for_each_epoch_and_batch():
    loader = DataLoader(numbers(6), batch_size=2, transform=lambda x, rng: rng.random(x.shape))
    drawn = {float(number) for _ in range(4) for inputs, _ in loader for number in inputs.flat}
    assert len(drawn) == 4 * 12


def test_the_transform_draws_other_numbers_than_the_shuffle():
    """A generator seeded by the list [seed, epoch, 0] would repeat that of [seed, epoch]."""
    loader = DataLoader(numbers(20), 20, shuffle=True, transform=lambda x, rng: rng.permutation(len(x)))
    ((drawn, targets),) = loader
    assert drawn.tolist() != targets.tolist()


def test_a_transform_changes_the_first_array_alone_and_its_result_is_contiguous():
    loader = DataLoader(
        numbers(5), batch_size=5, transform=lambda x, rng: np.asfortranarray(x[:, :, None] + [1.0, 2.0])
    )
    ((inputs, targets),) = loader
    assert inputs.shape == (5, 2, 2)
    assert inputs.flags.c_contiguous
    assert targets.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "NoneType"),
        ([[0.0]] * 4, "list"),
        (np.zeros((3, 2)), r"shape \(3, 2\)"),
        (np.zeros(()), r"shape \(\)"),
    ],
)
def test_a_transform_must_return_the_whole_batch(result, message):
    loader = DataLoader(numbers(4), batch_size=4, transform=lambda x, rng: result)
    with pytest.raises(ValueError, match=f"an array of the batch's 4 examples, got {message}"):
        next(iter(loader))
    assert (loader.epoch, loader.batch) == (0, 0)


# Mix


def halves(inputs: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return inputs / 2, np.stack([targets, -targets], axis=1) * rng.random()


def test_a_mix_changes_both_arrays_after_the_transform():
    plain = DataLoader(numbers(5), batch_size=3, transform=jitter)
    mixed = DataLoader(numbers(5), batch_size=3, transform=jitter, mix=halves)
    for (inputs, targets), (half, soft) in zip(plain, mixed, strict=True):
        np.testing.assert_array_equal(half, inputs / 2)
        assert soft.shape == (len(targets), 2)
        assert soft.flags.c_contiguous
        assert soft[:, 0].max() > 0


def test_a_mix_draws_for_each_epoch_and_batch_and_again_when_resumed():
    def drawn(batches: Any) -> list[float]:
        return [float(targets[1, 0]) for _, targets in batches]

    loader = DataLoader(ArrayDataset(np.ones(6), np.ones(6, np.int64)), batch_size=2, mix=halves)
    first, second = drawn(loader), drawn(loader)
    assert len({*first, *second}) == 6
    loader.epoch, loader.batch = 0, 1
    assert drawn(loader.resume()) == first[1:]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, r"mix returns the pair \(inputs, targets\), got NoneType"),
        ([np.zeros(4), np.zeros(4)], r"the pair \(inputs, targets\), got list"),
        ((np.zeros(4),), r"the pair \(inputs, targets\), got a tuple of 1"),
        ((np.zeros(4), np.zeros(3)), r"mix returns two arrays of the batch's 4 examples, got shape \(3,\)"),
        ((np.zeros((5, 2)), np.zeros(4)), r"the batch's 4 examples, got shape \(5, 2\)"),
        ((np.zeros(4), [0] * 4), "the batch's 4 examples, got list"),
    ],
)
def test_a_mix_must_return_both_arrays_whole(result, message):
    loader = DataLoader(numbers(4), batch_size=4, mix=lambda x, y, rng: result)
    with pytest.raises(ValueError, match=message):
        next(iter(loader))
    assert (loader.epoch, loader.batch) == (0, 0)


def test_a_mix_needs_inputs_and_targets():
    class Triples:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: np.ndarray) -> tuple[np.ndarray, ...]:
            return index, index, index

    with pytest.raises(ValueError, match="mix is for data sets of inputs and targets, got 3 arrays"):
        next(iter(DataLoader(Triples(), batch_size=2, mix=halves)))


# Position


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_from_every_position_a_resumed_loader_goes_on_as_if_uninterrupted(shuffle, drop_last):
    def build() -> DataLoader:
        return DataLoader(numbers(10), 3, shuffle=shuffle, drop_last=drop_last, seed=5, transform=jitter)

    def run(loader: DataLoader, epochs: int) -> list[tuple[int, bytes, bytes]]:
        batches = []
        while loader.epoch < epochs:
            epoch = loader.epoch
            batches += [(epoch, inputs.tobytes(), targets.tobytes()) for inputs, targets in loader.resume()]
        return batches

    uninterrupted = run(build(), 3)
    assert len(uninterrupted) == len(set(uninterrupted)) == 3 * len(build())

    states, saving = [], build()
    for _ in range(3):
        states.append(saving.state_dict())
        states.extend(saving.state_dict() for _ in saving.resume())
    for state in states:
        resumed = build()
        resumed.load_state_dict(json.loads(json.dumps(state)))
        assert resumed.state_dict() == state
        handed_out = state["epoch"] * len(resumed) + state["batch"]
        assert run(resumed, 3) == uninterrupted[handed_out:]
    assert len(states) == 3 * (1 + len(build()))


def test_a_state_is_the_position_and_what_it_depends_on():
    loader = DataLoader(numbers(10), 4, shuffle=True, drop_last=True, seed=9)
    next(loader.resume())
    assert loader.state_dict() == {
        "epoch": 0,
        "batch": 1,
        "length": 10,
        "batch_size": 4,
        "shuffle": True,
        "drop_last": True,
        "seed": 9,
    }


def test_resume_goes_on_after_a_break_and_then_starts_the_next_epoch():
    loader = DataLoader(numbers(6), batch_size=2)
    for _, targets in loader.resume():
        assert targets.tolist() == [0, 1]
        break
    assert (loader.epoch, loader.batch) == (0, 1)
    assert rest_of(loader) == [[2, 3], [4, 5]]
    assert (loader.epoch, loader.batch) == (1, 0)
    assert rest_of(loader) == [[0, 1], [2, 3], [4, 5]]
    assert (loader.epoch, loader.batch) == (2, 0)


def test_a_state_saved_in_the_last_batch_resumes_with_an_empty_rest():
    loader = DataLoader(numbers(4), batch_size=2)
    for _ in loader.resume():
        state = loader.state_dict()
    resumed = DataLoader(numbers(4), batch_size=2)
    resumed.load_state_dict(state)
    assert (resumed.epoch, resumed.batch) == (0, 2)
    assert rest_of(resumed) == []
    assert (resumed.epoch, resumed.batch) == (1, 0)
    assert rest_of(resumed) == [[0, 1], [2, 3]]


# Iterators of their own


def test_a_look_at_a_batch_takes_nothing_from_the_loop_after_it():
    loader = DataLoader(numbers(6), batch_size=2)
    next(iter(loader))
    assert (loader.epoch, loader.batch) == (0, 0)
    assert epoch_of(loader) == [[0, 1], [2, 3], [4, 5]]
    for _ in loader:
        break
    assert len(list(loader)) == 3


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loop_inside_a_loop_runs_whole_each_time(shuffle):
    loader = DataLoader(numbers(6), batch_size=2, shuffle=shuffle, transform=jitter)
    inner = [[order_of(loader) for _ in loader] for _ in loader]
    assert [len(orders) for orders in inner] == [3, 3, 3]
    assert all(sorted(order) == list(range(6)) for orders in inner for order in orders)


def test_iterators_side_by_side_have_orders_of_their_own():
    fresh = DataLoader(numbers(9), batch_size=2, shuffle=True)
    expected = [epoch_of(fresh) for _ in range(3)]
    assert expected[0] != expected[1] != expected[2]
    loader = DataLoader(numbers(9), batch_size=2, shuffle=True)
    pairs = [(a.tolist(), b.tolist()) for (_, a), (_, b) in zip(loader, loader, strict=True)]
    assert pairs == list(zip(*expected[:2], strict=True))
    assert loader.epoch == 2
    assert epoch_of(loader) == expected[2]


def test_an_epoch_that_was_read_to_its_end_is_counted():
    loader = DataLoader(numbers(5), batch_size=2, shuffle=True)
    one, two = iter(loader), iter(loader)
    list(two)
    assert (loader.epoch, loader.batch) == (2, 0)
    list(one)
    assert loader.state_dict()["epoch"] == 2
    again = DataLoader(numbers(5), batch_size=2, shuffle=True)
    again.load_state_dict(loader.state_dict())
    assert epoch_of(again) == epoch_of(loader)


def test_a_position_inside_an_epoch_is_moved_by_nobody_else():
    plain, loader = (DataLoader(numbers(9), batch_size=2, shuffle=True, transform=jitter) for _ in range(2))
    expected = [inputs.tobytes() for _ in range(2) for inputs, _ in plain.resume()]
    found = []
    for _ in range(2):
        for number, (inputs, _) in enumerate(loader.resume(), 1):
            found.append(inputs.tobytes())
            before = loader.state_dict()
            assert before["batch"] == number
            next(iter(loader))
            assert len(list(loader)) == 5
            assert loader.state_dict() == before
    assert found == expected


def test_an_iterator_made_during_a_resume_takes_another_epoch():
    plain = DataLoader(numbers(9), batch_size=2, shuffle=True)
    orders = [epoch_of(plain) for _ in range(3)]
    loader = DataLoader(numbers(9), batch_size=2, shuffle=True)
    resumed = loader.resume()
    found = [next(resumed)[1].tolist()]
    assert epoch_of(loader) == orders[1]
    found += [targets.tolist() for _, targets in resumed]
    assert found == orders[0]
    assert epoch_of(loader) == orders[2]


def test_setting_the_epoch_chooses_the_order_of_the_next_iterator():
    loader = DataLoader(numbers(9), batch_size=2, shuffle=True)
    first = epoch_of(loader)
    next(iter(loader))
    loader.epoch = 0
    assert epoch_of(loader) == first
    loader.load_state_dict(DataLoader(numbers(9), batch_size=2, shuffle=True).state_dict())
    assert epoch_of(loader) == first
    with pytest.raises(ValueError, match="epoch is an integer of at least 0, got -1"):
        loader.epoch = -1


def change(**entries: object) -> dict[str, object]:
    return {**DataLoader(numbers(10), batch_size=4).state_dict(), **entries}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (change(seed=1), r"of another loader: seed=1 \(here 0\)"),
        (change(length=11, batch_size=5), r"length=11 \(here 10\), batch_size=5 \(here 4\)"),
        (change(shuffle=True), r"shuffle=True \(here False\)"),
        (change(drop_last=True), r"drop_last=True \(here False\)"),
        (change(epoch=1, batch=4), "batch is at most 3, those of an epoch, got 4"),
        (change(epoch=1, batch=-1), "batch is an integer of at least 0, got -1"),
        (change(epoch=-1), "epoch is an integer of at least 0, got -1"),
        (change(epoch=1.5), "epoch is an integer of at least 0, got 1.5"),
        (change(epoch=1, batch="2"), "batch is an integer of at least 0, got '2'"),
        ({"epoch": 1, "batch": 1}, r"state lacks 'length', .*; it has \['epoch', 'batch'\]"),
        (change(rank=0), "state has 'rank', which is not known"),
        ({}, "lacks 'epoch', 'batch', 'length'"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(state, message):
    loader = DataLoader(numbers(10), batch_size=4)
    next(loader.resume())
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(state)
    assert (loader.epoch, loader.batch) == (0, 1)


# Bad arguments


@pytest.mark.parametrize(
    ("count", "options", "error", "message"),
    [
        (0, {"batch_size": 1}, ValueError, "a data set has at least 1 example"),
        (3, {"batch_size": 0}, ValueError, "batch_size is an integer of at least 1, got 0"),
        (3, {"batch_size": -2}, ValueError, "batch_size is an integer of at least 1, got -2"),
        (3, {"batch_size": 2.0}, TypeError, "batch_size is an integer"),
        (3, {"batch_size": 2, "seed": -1}, ValueError, "seed is an integer of at least 0, got -1"),
        (3, {"batch_size": 2, "seed": None}, TypeError, "seed is an integer"),
        (
            3,
            {"batch_size": 4, "drop_last": True},
            ValueError,
            "leaves no batch of 3 examples with batch_size=4; make batch_size at most 3, or drop_last=False",
        ),
    ],
)
def test_a_loader_that_could_not_work_is_refused(count, options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(numbers(count), **options)


@pytest.mark.parametrize("kind", [tuple, list])
def test_two_arrays_are_a_data_set(kind):
    data = numbers(5)
    (batch,) = DataLoader(kind((data.inputs, data.targets)), 5)
    np.testing.assert_array_equal(batch[0], data.inputs)
    np.testing.assert_array_equal(batch[1], data.targets)


@pytest.mark.parametrize(
    ("given", "found"), [(np.ones((4, 2)), "an array alone"), ((np.ones(4),), "a tuple of 1"), ([], "a list of 0")]
)
def test_an_array_alone_is_no_data_set(given, found):
    with pytest.raises(TypeError, match=rf"the pair \(inputs, targets\), got {found}$"):
        DataLoader(given, 2)
