from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, composed, grad, ops
from tinygrad_norm.testing import compare_with_composition, gradcheck


def leaf(array):
    return Tensor(np.asarray(array, np.float64), requires_grad=True)


def draw(rng, *shapes):
    return [leaf(rng.normal(size=shape)) for shape in shapes]


def check_multilinear(ours, theirs, operands, rng):
    """Value, and gradients against what `theirs`, linear in each operand, makes of a random direction in its place."""
    arrays = [x.numpy() for x in operands]
    y = ours(*operands)
    expected = theirs(*arrays)
    assert y.shape == np.shape(expected)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-10, atol=1e-12)
    cotangent = rng.normal(size=y.shape)
    for i, gradient in enumerate(grad(y, operands, cotangent)):
        assert gradient.shape == arrays[i].shape
        for _ in range(2):
            direction = rng.normal(size=arrays[i].shape)
            moved = theirs(*arrays[:i], direction, *arrays[i + 1 :])
            np.testing.assert_allclose(
                (gradient.numpy() * direction).sum(), (cotangent * moved).sum(), rtol=1e-9, atol=1e-11
            )


def test_every_op_has_tests(exported):
    assert exported("matmul") == {"matmul", "einsum", "linear"}


def test_agrees_with_pytorch(golden):
    np.testing.assert_allclose(*golden, rtol=1e-10, atol=1e-13)


# matmul

RANKS = [
    ((4,), (4,)),
    ((3, 4), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4, 5)),
    ((1, 4), (4, 1)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((1, 3, 4), (2, 4, 5)),
    ((3, 1, 3, 2), (2, 2, 1)),
    ((2, 1, 3, 4), (1, 3, 4, 2)),
    ((3, 0), (0, 2)),
]


@pytest.mark.parametrize("shapes", RANKS)
def test_matmul(rng, shapes):
    check_multilinear(lambda x, y: x @ y, np.matmul, draw(rng, *shapes), rng)


@pytest.mark.parametrize("shapes", RANKS[:-1])
def test_second_gradient_of_matmul(rng, shapes):
    x, y = draw(rng, *[shape[-3:] for shape in shapes])
    gradcheck(lambda x, y: ops.square(ops.matmul(x, y)), [x, y], order=2)


def test_matmul_of_itself_and_of_views(rng):
    (x,) = draw(rng, (4, 4))
    gradcheck(lambda x: x @ x, [x], order=2)
    gradcheck(lambda x: x @ x.T[:, ::-2], [x], order=2)


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("float32", "float32"), "float32"),
        (("float32", "float64"), "float64"),
        (("int64", "float32"), "float32"),
        (("int64", "int64"), "int64"),
    ],
)
def test_dtype_of_matmul(dtypes, expected):
    x, y = (np.array([[1, 2], [3, 4]]).astype(dtype) for dtype in dtypes)
    assert ops.matmul(x, y).dtype == expected
    assert ops.matmul(x, y).tolist() == [[7, 10], [15, 22]]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 4), (5, 2)), r"matmul: shapes \(3, 4\) and \(5, 2\) do not fit: rows of 4 meet columns of 5"),
        (((4,), (5,)), r"matmul: shapes \(4,\) and \(5,\) do not fit"),
        (((3, 4), (2, 3, 4)), r"rows of 4 meet columns of 3"),
        (((), (3, 4)), r"matmul: both inputs have at least one axis, got shapes \(\) and \(3, 4\)"),
        (((2, 3, 4), (3, 4, 5)), r"(?i)matmul: shapes \(2, 3, 4\) and \(3, 4, 5\) do not broadcast"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(ValueError, match=message):
        ops.matmul(*[np.ones(shape) for shape in shapes])


# einsum


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(3, 4), (4, 5)]),
        ("ij,jk", [(3, 4), (4, 5)]),
        ("ba", [(3, 4)]),
        ("aB", [(3, 4)]),
        (" i j , j k -> k i ", [(3, 4), (4, 5)]),
        ("ij->", [(3, 4)]),
        ("->", [()]),
        (",i->i", [(), (3,)]),
        ("ij->j", [(3, 1)]),
        ("ij,j->j", [(3, 4), (4,)]),
        ("i,j,k->kji", [(2,), (3,), (4,)]),
        ("ii->i", [(3, 3)]),
        ("ii->", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("iij->ij", [(3, 3, 2)]),
        ("iii->i", [(3, 3, 3)]),
        ("iijj->ij", [(2, 2, 3, 3)]),
        ("ii,ij->j", [(3, 3), (3, 2)]),
        ("ii,jj->", [(3, 3), (2, 2)]),
        ("ii->i", [(1, 1)]),
        ("...ij,...jk->...ik", [(2, 3, 4), (4, 5)]),
        ("...ij,...jk->...ik", [(2, 1, 3, 2), (3, 2, 1)]),
        ("...ij->...ji", [(2, 3, 4)]),
        ("i...->...", [(3, 4, 2)]),
        ("...,...", [(2, 3), (3,)]),
        ("...i,j...", [(2, 3, 4), (5, 1, 3)]),
        ("...ii->...i", [(2, 3, 3)]),
        ("b...,b...->b...", [(2, 3), (2, 1)]),
        ("ij,jk,kl,lm->im", [(2, 3), (3, 4), (4, 2), (2, 3)]),
        ("ij,jk->ik", [(3, 0), (0, 5)]),
        ("ij,ij->i", [(0, 2), (0, 2)]),
    ],
)
def test_einsum(rng, equation, shapes):
    operands = draw(rng, *shapes)
    check_multilinear(lambda *x: ops.einsum(equation, *x), lambda *x: np.einsum(equation, *x), operands, rng)
    if min(x.size for x in operands) > 0 and sum(x.size for x in operands) < 30:
        gradcheck(lambda *x: ops.square(ops.einsum(equation, *x)), operands, order=2)


@st.composite
def equations(draw):
    """An equation with shapes for it: letters that stand alone, twice, in several operands, and stretched axes."""
    lengths = {letter: draw(st.integers(1, 3)) for letter in "ijkl"}
    stretched = draw(st.lists(st.integers(1, 3), max_size=2))
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, 3))):
        letters = draw(st.text("ijkl", max_size=3))
        shape = [lengths[letter] for letter in letters]
        if stretched:
            place = draw(st.integers(0, len(letters)))
            dots = [draw(st.sampled_from([1, n])) for n in stretched[draw(st.integers(0, len(stretched))) :]]
            letters, shape = f"{letters[:place]}...{letters[place:]}", shape[:place] + dots + shape[place:]
        terms.append(letters)
        shapes.append(tuple(shape))
    known = sorted(set("".join(terms)) - {"."})
    output = draw(st.permutations(draw(st.lists(st.sampled_from(known), unique=True)) if known else []))
    result = "".join(output)
    if stretched:
        place = draw(st.integers(0, len(result)))
        result = f"{result[:place]}...{result[place:]}"
    return ",".join(terms) + draw(st.sampled_from(["", f"->{result}"])), shapes


@given(case=equations(), seed=st.integers(0, 999))
def test_any_einsum(case, seed):
    equation, shapes = case
    rng = np.random.default_rng(seed)
    check_multilinear(lambda *x: ops.einsum(equation, *x), lambda *x: np.einsum(equation, *x), draw(rng, *shapes), rng)


@pytest.mark.parametrize("shapes", [[(4, 3), (1, 3)], [(1, 3), (4, 3)], [(2, 1, 3), (4, 3)]])
def test_einsum_sums_over_an_ellipsis_that_the_output_leaves_out(rng, shapes):
    check_multilinear(
        lambda *x: ops.einsum("...i,...i->i", *x),
        lambda x, y: np.einsum("...i,...i->...i", x, y).reshape(-1, 3).sum(0),
        draw(rng, *shapes),
        rng,
    )


def test_einsum_with_an_operand_twice(rng):
    (x,) = draw(rng, (3, 4))
    gradcheck(lambda x: ops.einsum("ij,kj->ik", x, x), [x], order=2)


def test_dtype_of_einsum():
    x = np.ones((2, 3), np.float32)
    assert ops.einsum("ij,kj->ik", x, x).dtype == np.float32
    assert ops.einsum("ij,kj->ik", x, x.astype(np.int64)).dtype == np.float32
    assert ops.einsum("ij->", x.astype(np.int64)).dtype == np.int64


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("ij,jk->ik", [(3, 4)], "'ij,jk->ik' names 2 operands, got 1"),
        ("ij->i", [(3,)], r"'ij' in 'ij->i' names 2 axes, got an operand of shape \(3,\)"),
        ("i->i", [(3, 4)], r"'i' in 'i->i' names 1 axes, got an operand of shape \(3, 4\)"),
        ("...ij->i", [(3,)], "names 2 axes"),
        ("ij,jk->ik", [(3, 4), (5, 2)], r"axis 'j' .* has lengths \[4, 5\] in shapes \[\(3, 4\), \(5, 2\)\]"),
        ("ij,jk->ik", [(3, 1), (5, 2)], r"axis 'j' .* has lengths \[1, 5\]"),
        ("ii->i", [(3, 4)], r"axis 'i' .* has lengths \[3, 4\]"),
        ("...,...", [(3,), (4,)], r"axis '...' .* has lengths \[3, 4\]"),
        ("ij->k", [(3, 4)], "the output of 'ij->k' has letters of its operands, each once, got 'k'"),
        ("ij->ii", [(3, 4)], "the output of 'ij->ii' has letters of its operands, each once, got 'i'"),
        ("i1->i", [(3, 4)], "has '1' where a letter"),
        ("i..->i", [(3, 4)], r"has '\.' where a letter"),
        ("...i...->i", [(3, 4)], r"has '\.' where a letter"),
        ("i->j->i", [(3,)], "has '-' where a letter"),
    ],
)
def test_equations_that_do_not_hold(equation, shapes, message):
    with pytest.raises(ValueError, match=f"einsum: .*{message}"):
        ops.einsum(equation, *[np.ones(shape) for shape in shapes])


# linear


@given(
    batch=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    with_bias=st.booleans(),
    activation=st.sampled_from([None, "tanh", ("leaky_relu", 0.3)]),
    seed=st.integers(0, 999),
)
def test_linear_is_its_composition(batch, sizes, with_bias, activation, seed):
    rng = np.random.default_rng(seed)
    x, weight, bias = draw(rng, (*batch, sizes[1]), sizes, sizes[:1])
    given = [x, weight, bias] if with_bias else [x, weight]
    compare_with_composition(lambda *x: ops.linear(*x, activation=activation), given)
    expected = x.numpy() @ weight.numpy().T + (bias.numpy() if with_bias else 0)
    expected = {"tanh": np.tanh, None: lambda z: z}.get(activation, lambda z: np.where(z > 0, z, 0.3 * z))(expected)
    np.testing.assert_allclose(ops.linear(*given, activation=activation).numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_gradient_of_linear(rng, batch, activation):
    given = draw(rng, (*batch, 4), (5, 4), (5,))
    gradcheck(lambda *x: ops.square(ops.linear(*x, activation=activation)), given, order=2)
    for i in range(3):  # one at a time: the others want no gradient
        alone = [x if i == j else x.detach() for j, x in enumerate(given)]
        gradcheck(lambda *x: ops.linear(*x, activation=activation), alone)


def test_linear_takes_views_and_float32(rng):
    x = rng.normal(size=(6, 8)).astype(np.float32)[::2, ::-2]
    weight = rng.normal(size=(4, 5)).astype(np.float32).T
    bias = rng.normal(size=10).astype(np.float32)[::2]
    y = ops.linear(x, weight, bias)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), x.astype(float) @ weight.T.astype(float) + bias, rtol=1e-5, atol=1e-6)
    with composed():
        np.testing.assert_allclose(ops.linear(x, weight, bias).numpy(), y.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3), (5, 4), (5,)), r"linear: an input of shape \(2, 3\) and a weight of shape \(5, 4\) do not fit"),
        (((), (5, 4), None), r"linear: an input of shape \(\) and a weight of shape \(5, 4\)"),
        (((2, 4), (4,), None), r"linear: an input of shape \(2, 4\) and a weight of shape \(4,\)"),
        (((2, 4), (5, 4), (4,)), r"linear: bias has shape \(5,\) beside a weight of shape \(5, 4\), got \(4,\)"),
        (((2, 4), (5, 4), (1, 5)), r"bias has shape \(5,\) .*, got \(1, 5\)"),
    ],
)
def test_linear_of_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(ValueError, match=message):
        ops.linear(*[None if shape is None else np.ones(shape) for shape in shapes])


@pytest.mark.parametrize(
    ("dtypes", "message"),
    [
        (("float32", "float64", "float64"), "input float32, weight float64, bias float64"),
        (("float32", "float32", "float64"), "weight float32, bias float64"),
        (("int64", "int64", "int64"), "input int64"),
    ],
)
def test_linear_of_mixed_dtypes(dtypes, message):
    shapes = (2, 4), (5, 4), (5,)
    with pytest.raises(TypeError, match=f"linear: one floating dtype is needed throughout, but given are .*{message}"):
        ops.linear(*[np.ones(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)])


def test_linear_of_lists():
    assert ops.linear([[1.0, 2.0]], [[3.0, 4.0]], [5.0]).tolist() == [[16]]


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...i->i...", [(2, 3, 4, 5)]),
        ("...,...", [(2, 3, 4, 2), (4, 2)]),
        ("i...,...j->...ij", [(2, 3, 1, 2), (4, 3, 5, 2, 3)]),
        ("abcdefghijklmnopqrstuvwx...,...", [(1,) * 24 + (2, 3, 2), (3, 2)]),
        ("...,abcdefghijklmnopqrstuvwx...", [(3, 2), (1,) * 24 + (2, 3, 2)]),
    ],
)
def test_an_ellipsis_stands_for_many_axes(rng, equation, shapes):
    operands = draw(rng, *shapes)
    check_multilinear(lambda *x: ops.einsum(equation, *x), lambda *x: np.einsum(equation, *x), operands, rng)


def test_a_product_of_matrices_is_one_op(rng):
    x, y = draw(rng, (3, 4), (4, 2))
    product = ops.matmul(x, y).creator
    assert (product.name, product.edges) == ("MatMul", (x, y))
