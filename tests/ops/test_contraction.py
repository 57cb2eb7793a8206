"""Sums of products of arrays: the values are np.einsum's, and large ones are products of matrices."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import kernels
from tinygrad_norm.ops.contraction import contract

EQUATIONS: dict[str, list[tuple[int, ...]]] = {
    "ij,jk->ik": [(70, 65), (65, 67)],
    "ji,kj->ki": [(65, 70), (67, 65)],
    "bij,bjk->kib": [(3, 50, 40), (3, 40, 60)],
    "bhid,bhjd->bhij": [(2, 3, 30, 40), (2, 3, 50, 40)],
    "abij,jiq->qab": [(5, 6, 7, 8), (8, 7, 9)],
    "ij,j->i": [(600, 500), (500,)],
    "bij,bj->bi": [(3, 300, 400), (3, 400)],
    "ijx,jk->ik": [(70, 65, 3), (65, 67)],
    "iij,jk->ik": [(9, 9, 5), (5, 7)],
    "bij,jk->bik": [(1, 70, 65), (65, 67)],
    "i,i->": [(50,), (50,)],
    "i,j->ij": [(5,), (6,)],
    "ij,ij->ij": [(5, 6), (5, 6)],
    "ij,jk,kl,lm->im": [(5, 60), (60, 70), (70, 3), (3, 8)],
    "ij,ij,ij->j": [(5, 6), (5, 6), (5, 6)],
    "ij,jk->": [(5, 6), (6, 7)],
    "ij,jk->ki": [(0, 6), (6, 7)],
    "iji->j": [(4, 5, 4)],
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_values(equation, rng):
    operands = [rng.normal(size=shape) for shape in EQUATIONS[equation]]
    terms, output = equation.split("->")
    found = contract(terms.split(","), output, operands)
    np.testing.assert_allclose(found, np.einsum(equation, *operands), rtol=1e-11, atol=1e-11)


def test_an_axis_of_length_1_is_stretched(rng):
    x, y = rng.normal(size=(1, 4, 1)), rng.normal(size=(3, 5, 6))
    found = contract(["bij", "bjk"], "bik", [x, y])
    np.testing.assert_allclose(found, np.broadcast_to(x, (3, 4, 5)) @ y, rtol=1e-13)


def test_what_is_summed_with_rows_or_columns_is_a_product_of_matrices(rng, monkeypatch):
    taken: list[tuple[tuple[int, ...], ...]] = []
    module = kernels.of(np.zeros(1))
    multiply = module.matmul

    def watched(a, b):
        taken.append((a.shape, b.shape))
        return multiply(a, b)

    monkeypatch.setattr(module, "matmul", watched)
    contract(["bij", "kjb"], "ikb", [rng.normal(size=(3, 4, 5)), rng.normal(size=(6, 5, 3))])
    assert taken == [((3, 4, 5), (3, 5, 6))]
    contract(["ij", "ij"], "i", [rng.normal(size=(4, 5))] * 2)  # rows of two matrices: nothing to multiply
    assert len(taken) == 1
