"""The ledger of memory: what counts, once for all who hold it, and until when."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from tinygrad_norm import Op, Tensor, nn, no_grad, ops
from tinygrad_norm.viz.ledger import Ledger
from tinygrad_norm.viz.timeline import Timeline

KB = 1000


def leaf(count=KB // 8):
    """1,000 bytes, unless told otherwise."""
    return Tensor(np.linspace(0.1, 0.9, count), requires_grad=True)


class Keep(Op):
    """The identity, which keeps what it is made with, or a copy of its input."""

    def __init__(self, *kept):
        super().__init__()
        self.kept = kept

    def forward(self, x):
        self.save(*(self.kept or (x.copy(),)))
        return x + 0

    def backward(self, grad):
        return grad


@pytest.fixture
def ledger():
    return Ledger()


def test_an_entry_counts_from_when_it_is_added_until_it_is_dropped(ledger):
    x = leaf()
    y = Keep()(x)
    assert ledger.live == 0
    assert ledger.add(y.creator) == ledger.live == KB
    z = Keep()(leaf(KB // 4))
    assert (ledger.add(z.creator), ledger.live) == (2 * KB, 3 * KB)
    del y
    assert ledger.live == 2 * KB
    del z
    assert ledger.live == 0


def test_an_entry_that_was_freed_goes_when_it_is_settled(ledger):
    y, z = Keep()(leaf()), Keep()(leaf())
    for tensor in (y, z):
        ledger.add(tensor.creator)
    y.backward(np.ones(y.shape))
    ledger.settle(z.creator)
    assert ledger.live == 2 * KB
    ledger.settle(y.creator)
    assert ledger.live == KB
    ledger.settle(y.creator)  # which is off already
    assert ledger.live == KB
    z.backward(np.ones(z.shape))
    ledger.settle_all()
    assert ledger.live == 0


def test_memory_that_several_keep_counts_until_the_last_lets_go(ledger):
    shared = np.ones(KB // 8)
    one, other = Keep(shared)(leaf()), Keep(shared[3:], shared[:2])(leaf())
    assert [ledger.add(tensor.creator) for tensor in (one, other)] == [KB, 0]
    del one
    assert ledger.live == KB
    del other
    assert ledger.live == 0


def test_a_view_counts_for_the_whole_array_that_it_keeps(ledger):
    y = Keep(np.ones((10, KB // 8))[:1, ::2])(leaf())
    assert ledger.add(y.creator) == 10 * KB


def test_what_is_exempt_does_not_count_by_itself_or_as_a_view(ledger):
    array = np.ones(KB // 8)
    ledger.exempt(array[2:])
    y = Keep(array, array[1:], np.ones(2))(leaf())
    assert ledger.add(y.creator) == 16
    z = Keep(array)(leaf())
    assert ledger.add(z.creator) == 0


def test_an_array_in_the_memory_of_one_that_was_exempt_counts(ledger):
    """The exemption is that of the array, and not of the place where it was."""
    array = np.ones(KB // 8)
    ledger.exempt(array)
    name = id(array)
    ledger._exempt[id(other := np.ones(KB // 8))] = ledger._exempt[name]  # as if the next had the place of the first
    y = Keep(other)(leaf())
    assert ledger.add(y.creator) == KB


def test_what_no_tape_recorded_or_went_back_already_does_not_count(ledger):
    class Watch(Keep):
        def forward(self, x):
            ops_seen.append(self)
            return super().forward(x)

    ops_seen: list[Op] = []
    with no_grad():
        Watch()(leaf())
    y = Watch()(leaf())
    y.backward(np.ones(y.shape))
    assert [ledger.add(op) for op in ops_seen] == [0, 0]
    assert ledger.live == 0


def test_ledger_and_entries_make_no_cycle():
    gc.collect()
    gc.disable()
    try:
        ledger, y = Ledger(), Keep()(leaf())
        ledger.add(y.creator)
        del ledger
        assert gc.collect() == 0
        del y  # which finds nobody who counts
    finally:
        gc.enable()


# As a timeline counts


def test_views_count_once_for_the_array_that_they_keep():
    base = leaf()
    with Timeline() as timeline:
        y = [part.square() for part in ops.split(base * 1.0, 5)]
    assert timeline.peak.bytes == KB
    assert timeline.events[-1].live_bytes == KB
    del y
    assert timeline.live_bytes == 0


def test_parameters_do_not_count():
    layer = nn.Linear(10, 20)
    x = Tensor(np.ones((5, 10), np.float32))
    with Timeline() as timeline:
        layer(x)
    assert timeline.peak.bytes == x.nbytes  # and not the weight's 800 bytes
    with Timeline() as timeline:
        layer.weight.T.square()
    assert timeline.peak.bytes == 0


def test_views_of_parameters_from_before_the_block_do_not_count():
    weight, x = nn.Parameter(np.ones((10, 20), np.float32)), Tensor(np.ones((5, 10), np.float32), requires_grad=True)
    view = weight.mT.mT
    with Timeline() as timeline:
        x @ view
    assert timeline.peak.bytes == x.nbytes


def test_a_long_tape_from_before_the_block_is_looked_at_once(monkeypatch):
    looked = []
    monkeypatch.setattr(Ledger, "exempt", lambda self, array: looked.append(array))
    y = nn.Parameter([1.0, 2.0])
    for _ in range(10_000):
        y = -y
    with Timeline():
        for _ in range(10):
            y.sin()
    assert len(looked) == 1
