"""Larger inputs: as many longer axes as a function takes, with numbers that are not the small ones again."""

from __future__ import annotations

import numpy as np

from tinygrad_norm import modes, nn, ops
from tinygrad_norm.certificate.case import Case
from tinygrad_norm.certificate.enlarge import enlarge
from tinygrad_norm.certificate.targets import cases_of


def test_axes_of_one_length_grow_alike_and_those_that_cannot_stay():
    assert sizes(lambda x, weight: x * weight, (3, 4), (4,)) == [(259, 260), (260,)]
    assert sizes(lambda x: x.reshape(3, 4), (3, 4)) is None
    assert sizes(lambda x: ops.layer_norm(x, 4), (3, 4)) == [(259, 4)]
    assert sizes(nn.BatchNorm2D(3), (2, 3, 1, 4)) == [(18, 3, 17, 20), (3,), (3,)]
    assert sizes(lambda x: x.exp(), (5,)) == [(1005,)]


def test_the_longest_axis_comes_first():
    def narrow(x):
        if min(x.shape) > 10:
            raise RuntimeError("one of them is short")
        return x.exp()

    assert sizes(narrow, (3, 4)) == [(3, 260)]


def sizes(what, *shapes):
    (*_, case) = cases_of(what, shapes, np.random.default_rng(0))
    return [given.shape for given in case.inputs] if case.larger else None


def test_a_larger_case_says_so_and_is_not_mutated(rng):
    case = Case("pair", ops.multiply, (rng.normal(size=(3, 4)), rng.normal(size=4)))
    larger = enlarge(case)
    assert (larger.name, larger.larger, larger.mutated) == ("pair, 259×260", True, False)
    assert (case.larger, case.inputs[0].shape) == (False, (3, 4))


def test_floats_vary_and_labels_stay_labels(rng):
    labels = np.array([1, 3, 0])
    larger = enlarge(Case("", lambda x, y: ops.cross_entropy(x, y), (np.ones((3, 4)), labels)))
    x, chosen = larger.inputs
    assert (x.shape, chosen.shape) == ((259, 260), (259,))
    np.testing.assert_array_equal(chosen, np.resize(labels, 259))
    assert len(np.unique(x)) == x.size
    assert 0.5 < x.min() < 0.6 < 1.4 < x.max() < 1.5


def test_what_takes_no_longer_input_or_gives_no_number_there_has_no_larger_case():
    def small(x):
        if x.size > 100:
            raise RuntimeError("too long")
        return x.exp()

    def overflowing(x):
        return x * (1.0 if x.size < 100 else np.inf)

    def otherwise_defined(x):
        return x if modes.setting.get().composed and x.size > 100 else x.sum()

    for function in (small, overflowing, otherwise_defined):
        assert enlarge(Case("", function, (np.ones((3, 4)),))) is None
    assert enlarge(Case("", ops.exp, (np.array(0.5), 3))) is None
