"""Kernels of rms_normalize, statistics taken over rows (inner) or columns (outer):

    σ² = mean(x²)
    z = x · 1/√(σ² + ε) · γ
    y = φ(z)
"""

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.activation import activated, times_derivative
from tinygrad_norm.kernels.cpu.compiler import Kernel, device, inline, noalias, ordered, reassociate
from tinygrad_norm.kernels.cpu.reduction import (
    ROWS,
    TERMS,
    Groups,
    all_of,
    few,
    fill,
    first_row,
    gather_sum,
    groups_of,
    in_range,
    join_sum,
    keep,
    length_of,
    move_sum,
    rows_of,
    turns_of,
    units_of,
)


@Kernel
def inner_forward(x, parameters, options, line, units, statistics, fine, y):
    """Write y for a matrix [K0 R0 K1, R1], of which R0 rows are a group; tell if all are in range."""
    for turn in prange(turns_of(units)):
        _inner_forward_turn(np.intp(turn), x, parameters, options, line, units, statistics, fine, y)
    return all_of(fine)


@device
def _inner_forward_turn(turn, x, parameters, options, line, units, statistics, fine, y):
    """Some units of work: a few groups at a time."""
    repeat, inner, period, length = units[1], units[2], units[3], x.shape[1]
    width, n = few(x, repeat), repeat * length
    all_values = np.empty((1, width))
    values = (all_values[0],)
    all_sums = np.empty((1, width))
    sums = (all_sums[0],)
    all_c = np.empty((1, width), x.dtype)
    c = (all_c[0],)
    ok = np.empty(width, np.bool_)
    for unit in units_of(turn, units):
        weight = parameters[0][unit % period]
        first, last = groups_of(unit, units[0] * period, len(fine), period)
        for top in range(first, last, width * period):
            groups = Groups(top, min(top + width * period, last), period, repeat, inner)
            fill(ok, True)
            _inner_forward_sum_0(x, groups, sums)
            _inner_forward_find_1(options, n, groups, statistics, values, sums, c, ok)
            _inner_forward_write(x, weight, line, groups, c, y)
            keep(ok, groups, fine)


@noalias
def _inner_forward_sum_0(x, groups, sums):
    """The sums of each group."""
    for j in range(length_of(groups)):
        top = first_row(groups, j)
        total_sum0 = 0.0
        for r in range(top, top + groups.repeat * groups.inner, groups.inner):
            for i in range(0, x.shape[1], TERMS):
                stop = np.uintp(min(i + TERMS, x.shape[1]))
                sum0, = _inner_forward_add_0(x[r], np.uintp(i), stop)
                total_sum0 += sum0
        sums[0][j] = total_sum0


@reassociate
def _inner_forward_add_0(x, first, last):
    """The sums of some numbers of a row."""
    sum0 = x.dtype.type(0.0)
    for i in range(first, last):
        e = _inner_forward_terms_0(i, x)
        sum0 += e[0]
    return sum0,


@ordered
def _inner_forward_terms_0(i, x):
    """What a number adds to the sums."""
    return (
        x[i] * x[i],  # x²
    )


@noalias
def _inner_forward_find_1(options, n, groups, statistics, values, sums, c, ok):
    """What follows from the sums."""
    single = c[0].itemsize < 8
    eps = options[0]
    one = 1.0
    var = values[0]
    sum0 = sums[0]
    c0 = c[0]
    for j in range(length_of(groups)):
        var[j] = sum0[j] / n  # σ² = mean(x²)
        c0[j] = one / np.sqrt(var[j] + eps)  # 1/√(σ² + ε)
        ok[j] &= in_range(var[j], single)
        ok[j] &= in_range(c0[j], single)
    for j in range(length_of(groups)):
        statistics[0][groups.first + j * groups.step] = var[j]


@noalias
def _inner_forward_write(x, weight, line, groups, c, y):
    """The output."""
    for j in range(length_of(groups)):
        top = first_row(groups, j)
        c0 = c[0][j]
        for r in range(top, top + groups.repeat * groups.inner, groups.inner):
            for i in range(x.shape[1]):
                y[r, i] = activated(x[r, i] * c0 * weight[i], line)  # φ(z)


@Kernel
def inner_gradient(dy, x, parameters, options, line, units, statistics, fine, dx, grads):
    """Write dx for a matrix [K0 R0 K1, R1], of which R0 rows are a group; tell if all are in range."""
    for turn in prange(turns_of(units)):
        _inner_gradient_turn(np.intp(turn), dy, x, parameters, options, line, units, statistics, fine, dx, grads)
    return all_of(fine)


@device
def _inner_gradient_turn(turn, dy, x, parameters, options, line, units, statistics, fine, dx, grads):
    """Some units of work: a few groups at a time."""
    repeat, inner, period, length = units[1], units[2], units[3], x.shape[1]
    part_dweight = np.zeros(length, x.dtype)
    moved = np.empty(1, np.intp)
    width, n = few(x, repeat), repeat * length
    all_values = np.empty((3, width))
    values = (all_values[0], all_values[1], all_values[2])
    all_sums = np.empty((1, width))
    sums = (all_sums[0],)
    all_c = np.empty((2, width), x.dtype)
    c = (all_c[0], all_c[1])
    ok = np.empty(width, np.bool_)
    for unit in units_of(turn, units):
        weight = parameters[0][unit % period]
        moved[0] = 0
        dweight = grads[0][unit]
        fill(dweight, 0.0)
        first, last = groups_of(unit, units[0] * period, len(fine), period)
        for top in range(first, last, width * period):
            groups = Groups(top, min(top + width * period, last), period, repeat, inner)
            fill(ok, True)
            _inner_gradient_find_0(options, groups, statistics, values, c, ok)
            _inner_gradient_sum_0(dy, x, weight, line, groups, c, sums, part_dweight, dweight, moved)
            _inner_gradient_find_1(options, n, groups, values, sums, c, ok)
            _inner_gradient_write(dy, x, weight, line, groups, c, dx)
            keep(ok, groups, fine)
        move_sum(part_dweight, dweight)


@noalias
def _inner_gradient_find_0(options, groups, statistics, values, c, ok):
    """What is known before the sums are taken."""
    single = c[0].itemsize < 8
    eps = options[0]
    one = 1.0
    var = values[0]
    c0 = c[0]
    for j in range(length_of(groups)):
        var[j] = statistics[0][groups.first + j * groups.step]
    for j in range(length_of(groups)):
        c0[j] = one / np.sqrt(var[j] + eps)  # 1/√(σ² + ε)
        ok[j] &= in_range(c0[j], single)
        ok[j] &= in_range(var[j], single)


@noalias
def _inner_gradient_sum_0(dy, x, weight, line, groups, c, sums, part_dweight, dweight, moved):
    """The sums of each group."""
    for j in range(length_of(groups)):
        top = first_row(groups, j)
        c0 = c[0][j]
        total_sum0 = 0.0
        for r in range(top, top + groups.repeat * groups.inner, groups.inner):
            for i in range(0, x.shape[1], TERMS):
                stop = np.uintp(min(i + TERMS, x.shape[1]))
                sum0, = _inner_gradient_add_0(dy[r], x[r], weight, line, c0, part_dweight, np.uintp(i), stop)
                total_sum0 += sum0
            moved[0] += 1
            if moved[0] == ROWS:
                move_sum(part_dweight, dweight)
                moved[0] = 0
        sums[0][j] = total_sum0


@reassociate
def _inner_gradient_add_0(dy, x, weight, line, c0, part_dweight, first, last):
    """The sums of some numbers of a row."""
    sum0 = x.dtype.type(0.0)
    for i in range(first, last):
        e = _inner_gradient_terms_0(i, dy, x, weight, line, c0)
        sum0 += e[0]
        part_dweight[i] += e[1]
    return sum0,


@ordered
def _inner_gradient_terms_0(i, dy, x, weight, line, c0):
    """What a number adds to the sums."""
    v0 = times_derivative(dy[i], x[i] * c0 * weight[i], line)  # g · φ'(z)
    return (
        v0 * weight[i] * x[i],  # g · φ'(z) · γ · x
        v0 * c0 * x[i],  # g · φ'(z) · x · 1/√(σ² + ε)
    )


@noalias
def _inner_gradient_find_1(options, n, groups, values, sums, c, ok):
    """What follows from the sums."""
    eps = options[0]
    one = 1.0
    var = values[0]
    m0 = values[1]
    A_var = values[2]
    sum0 = sums[0]
    c1 = c[1]
    for j in range(length_of(groups)):
        m0[j] = sum0[j] / n  # mean(g · φ'(z) · γ · x)
        # A[σ²] = −0.5 · (1/√(σ² + ε))^3 · mean(g · φ'(z) · γ · x)
        A_var[j] = -0.5 * ((one / np.sqrt(var[j] + eps)) ** 3 * m0[j])
        c1[j] = 2.0 * A_var[j]  # 2 · A[σ²]
        ok[j] &= np.isfinite(c1[j])


@noalias
def _inner_gradient_write(dy, x, weight, line, groups, c, dx):
    """The gradient of x."""
    for j in range(length_of(groups)):
        top = first_row(groups, j)
        c0 = c[0][j]
        c1 = c[1][j]
        for r in range(top, top + groups.repeat * groups.inner, groups.inner):
            for i in range(x.shape[1]):
                # g · φ'(z) · γ · 1/√(σ² + ε) + 2 · A[σ²] · x
                dx[r, i] = times_derivative(dy[r, i], x[r, i] * c0 * weight[i], line) * c0 * weight[i] + x[r, i] * c1


@Kernel
def outer_forward(x, parameters, options, line, units, statistics, fine, y):
    """Write y for a matrix [K0 R0, K1 R1], of which the rows of one k0 are a group; tell as above."""
    groups, blocks, length = units[0], units[1], x.shape[1]
    sums = np.empty((groups * blocks, 1, length))
    values = np.empty((groups, 1, length))
    c = np.empty((groups, 1, length), x.dtype)
    for group in range(groups):
        fill(fine[group], True)
    if blocks == 1:
        for k0 in prange(groups):
            group = np.intp(k0)
            _outer_forward_sum_0(group, units, x, sums)
            _outer_forward_find_1(group, x, parameters, options, units, statistics, sums, values, c, fine)
            _outer_forward_write(group, units, x, line, c, y)
    else:
        for unit in prange(groups * blocks):
            _outer_forward_sum_0(np.intp(unit), units, x, sums)
        for group in range(groups):
            _outer_forward_find_1(group, x, parameters, options, units, statistics, sums, values, c, fine)
        for turn in prange(groups * blocks):
            # what was read last may still be in the cache
            _outer_forward_write(groups * blocks - 1 - np.intp(turn), units, x, line, c, y)
    return all_of(fine)


@device
def _outer_forward_sum_0(unit, units, x, sums):
    """The sums of a unit's columns."""
    group, rows = unit // units[1], rows_of(x, unit, units[0] * units[1])
    part_sum0 = np.empty(x.shape[1], x.dtype)
    fill(part_sum0, 0.0)
    _outer_forward_rows_0(x[rows], (part_sum0,), (sums[unit, 0],))


@noalias
def _outer_forward_rows_0(x, parts, sums):
    """The rows of a unit, four at a time, which saves their sums a way through memory."""
    fill(sums[0], 0.0)
    for top in range(0, len(x), ROWS):
        stop = min(top + ROWS, len(x))
        whole = stop - (stop - top) % 4
        for r in range(top, whole, 4):
            for k in range(x.shape[1]):
                e0 = _outer_forward_terms_0(r, k, x)
                e1 = _outer_forward_terms_0(r + 1, k, x)
                e2 = _outer_forward_terms_0(r + 2, k, x)
                e3 = _outer_forward_terms_0(r + 3, k, x)
                parts[0][k] += (e0[0] + e1[0]) + (e2[0] + e3[0])
        for r in range(whole, stop):
            for k in range(x.shape[1]):
                e0 = _outer_forward_terms_0(r, k, x)
                parts[0][k] += e0[0]
        move_sum(parts[0], sums[0])


@inline
def _outer_forward_terms_0(r, k, x):
    """What a number adds to the sums."""
    return (
        x[r, k] * x[r, k],  # x²
    )


@device
def _outer_forward_find_1(group, x, parameters, options, units, statistics, sums, values, c, fine):
    """What follows from the sums."""
    share, single, length = units[2], x.itemsize < 8, x.shape[1]
    n = len(x) // units[0] * share
    weight = parameters[0][group % units[3]]
    var = statistics[0][group]
    joined0 = values[group, 0]
    sum0 = gather_sum(sums[group * units[1] : (group + 1) * units[1], 0])
    c0 = c[group, 0]
    ok = fine[group]
    eps = options[0]
    one = 1.0
    for k in range(length):
        joined0[k] = sum0[k]
    join_sum(joined0, (share, 1))
    for k in range(length):
        var[k] = joined0[k] / n  # σ² = mean(x²)
        c0[k] = one / np.sqrt(var[k] + eps) * weight[k]  # 1/√(σ² + ε) · γ
        ok[k] &= in_range(var[k], single)
        ok[k] &= in_range(c0[k], single)


@noalias
def _outer_forward_write(unit, units, x, line, c, y):
    """The output."""
    group, rows = unit // units[1], rows_of(x, unit, units[0] * units[1])
    x, y = x[rows], y[rows]
    c0 = c[group, 0]
    for r in range(len(x)):
        for k in range(x.shape[1]):
            y[r, k] = activated(x[r, k] * c0[k], line)  # φ(z)


@Kernel
def outer_gradient(dy, x, parameters, options, line, units, statistics, fine, dx, grads):
    """Write dx for a matrix [K0 R0, K1 R1], of which the rows of one k0 are a group; tell as above."""
    groups, blocks, length = units[0], units[1], x.shape[1]
    sums = np.empty((groups * blocks, 1, length))
    values = np.empty((groups, 3, length))
    c = np.empty((groups, 2, length), x.dtype)
    for group in range(groups):
        fill(fine[group], True)
    if blocks == 1:
        for k0 in prange(groups):
            group = np.intp(k0)
            _outer_gradient_find_0(group, x, parameters, options, units, statistics, c, fine)
            _outer_gradient_sum_0(group, units, dy, x, line, c, sums)
            _outer_gradient_find_1(group, x, parameters, options, units, statistics, sums, values, c, fine, grads)
            _outer_gradient_write(group, units, dy, x, line, c, dx)
    else:
        for group in range(groups):
            _outer_gradient_find_0(group, x, parameters, options, units, statistics, c, fine)
        for unit in prange(groups * blocks):
            _outer_gradient_sum_0(np.intp(unit), units, dy, x, line, c, sums)
        for group in range(groups):
            _outer_gradient_find_1(group, x, parameters, options, units, statistics, sums, values, c, fine, grads)
        for turn in prange(groups * blocks):
            # what was read last may still be in the cache
            _outer_gradient_write(groups * blocks - 1 - np.intp(turn), units, dy, x, line, c, dx)
    return all_of(fine)


@device
def _outer_gradient_find_0(group, x, parameters, options, units, statistics, c, fine):
    """What is known before the sums are taken."""
    share, single, length = units[2], x.itemsize < 8, x.shape[1]
    weight = parameters[0][group % units[3]]
    var = statistics[0][group]
    c0 = c[group, 0]
    ok = fine[group]
    eps = options[0]
    one = 1.0
    for k in range(length):
        c0[k] = one / np.sqrt(var[k] + eps) * weight[k]  # 1/√(σ² + ε) · γ
        ok[k] &= in_range(c0[k], single)
        ok[k] &= in_range(var[k], single)


@device
def _outer_gradient_sum_0(unit, units, dy, x, line, c, sums):
    """The sums of a unit's columns."""
    group, rows = unit // units[1], rows_of(x, unit, units[0] * units[1])
    c0 = c[group, 0]
    part_sum0 = np.empty(x.shape[1], x.dtype)
    fill(part_sum0, 0.0)
    _outer_gradient_rows_0(dy[rows], x[rows], line, c0, (part_sum0,), (sums[unit, 0],))


@noalias
def _outer_gradient_rows_0(dy, x, line, c0, parts, sums):
    """The rows of a unit, four at a time, which saves their sums a way through memory."""
    fill(sums[0], 0.0)
    for top in range(0, len(x), ROWS):
        stop = min(top + ROWS, len(x))
        whole = stop - (stop - top) % 4
        for r in range(top, whole, 4):
            for k in range(x.shape[1]):
                e0 = _outer_gradient_terms_0(r, k, dy, x, line, c0)
                e1 = _outer_gradient_terms_0(r + 1, k, dy, x, line, c0)
                e2 = _outer_gradient_terms_0(r + 2, k, dy, x, line, c0)
                e3 = _outer_gradient_terms_0(r + 3, k, dy, x, line, c0)
                parts[0][k] += (e0[0] + e1[0]) + (e2[0] + e3[0])
        for r in range(whole, stop):
            for k in range(x.shape[1]):
                e0 = _outer_gradient_terms_0(r, k, dy, x, line, c0)
                parts[0][k] += e0[0]
        move_sum(parts[0], sums[0])


@inline
def _outer_gradient_terms_0(r, k, dy, x, line, c0):
    """What a number adds to the sums."""
    return (
        times_derivative(dy[r, k], x[r, k] * c0[k], line) * x[r, k],  # g · φ'(z) · x
    )


@device
def _outer_gradient_find_1(group, x, parameters, options, units, statistics, sums, values, c, fine, grads):
    """What follows from the sums."""
    share, single, length = units[2], x.itemsize < 8, x.shape[1]
    n = len(x) // units[0] * share
    weight = parameters[0][group % units[3]]
    var = statistics[0][group]
    m0 = values[group, 0]
    A_var = values[group, 1]
    joined0 = values[group, 2]
    sum0 = gather_sum(sums[group * units[1] : (group + 1) * units[1], 0])
    c1 = c[group, 1]
    dweight = grads[0][group]
    ok = fine[group]
    eps = options[0]
    one = 1.0
    for k in range(length):
        joined0[k] = sum0[k] * weight[k]
        dweight[k] = sum0[k] * (one / np.sqrt(var[k] + eps))  # Σ over all rows
    join_sum(joined0, (share, 1))
    for k in range(length):
        m0[k] = joined0[k] / n  # mean(g · φ'(z) · γ · x)
        # A[σ²] = −0.5 · (1/√(σ² + ε))^3 · mean(g · φ'(z) · γ · x)
        A_var[k] = -0.5 * ((one / np.sqrt(var[k] + eps)) ** 3 * m0[k])
        c1[k] = 2.0 * A_var[k]  # 2 · A[σ²]
        ok[k] &= np.isfinite(c1[k])


@noalias
def _outer_gradient_write(unit, units, dy, x, line, c, dx):
    """The gradient of x."""
    group, rows = unit // units[1], rows_of(x, unit, units[0] * units[1])
    dy, x, dx = dy[rows], x[rows], dx[rows]
    c0 = c[group, 0]
    c1 = c[group, 1]
    for r in range(len(x)):
        for k in range(x.shape[1]):
            # g · φ'(z) · γ · 1/√(σ² + ε) + 2 · A[σ²] · x
            dx[r, k] = times_derivative(dy[r, k], x[r, k] * c0[k], line) * c0[k] + x[r, k] * c1[k]
