"""Kernels of normalize_inference, statistics taken over rows (inner) or columns (outer):

    z = (x − μ) · 1/√(σ² + ε) · γ + β
    y = φ(z)
"""

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.activation import activated, times_derivative
from tinygrad_norm.kernels.cpu.compiler import Kernel, device, inline, noalias
from tinygrad_norm.kernels.cpu.pointwise import less
from tinygrad_norm.kernels.cpu.reduction import (
    ROWS,
    Groups,
    all_of,
    few,
    fill,
    first_row,
    gather_sum,
    groups_of,
    in_range,
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
    all_values = np.empty((2, width))
    values = (all_values[0], all_values[1])
    all_c = np.empty((3, width), x.dtype)
    c = (all_c[0], all_c[1], all_c[2])
    ok = np.empty(width, np.bool_)
    for unit in units_of(turn, units):
        weight = parameters[0][unit % period]
        bias = parameters[1][unit % period]
        first, last = groups_of(unit, units[0] * period, len(fine), period)
        for top in range(first, last, width * period):
            groups = Groups(top, min(top + width * period, last), period, repeat, inner)
            fill(ok, True)
            _inner_forward_find_0(options, groups, statistics, values, c, ok)
            _inner_forward_write(x, weight, bias, line, groups, c, y)
            keep(ok, groups, fine)


@noalias
def _inner_forward_find_0(options, groups, statistics, values, c, ok):
    """What is known before the sums are taken."""
    single = c[0].itemsize < 8
    eps = options[0]
    one = 1.0
    mean = values[0]
    var = values[1]
    c0 = c[0]
    c1 = c[1]
    c2 = c[2]
    for j in range(length_of(groups)):
        mean[j] = statistics[0][groups.first + j * groups.step]
        var[j] = statistics[1][groups.first + j * groups.step]
    for j in range(length_of(groups)):
        c0[j] = mean[j]  # μ
        c1[j] = mean[j] - c0[j]  # what rounding took
        c2[j] = one / np.sqrt(var[j] + eps)  # 1/√(σ² + ε)
        ok[j] &= in_range(c2[j], single)
        ok[j] &= in_range(mean[j], single)
        ok[j] &= in_range(var[j], single)


@noalias
def _inner_forward_write(x, weight, bias, line, groups, c, y):
    """The output."""
    for j in range(length_of(groups)):
        top = first_row(groups, j)
        c0 = c[0][j]
        c1 = c[1][j]
        c2 = c[2][j]
        for r in range(top, top + groups.repeat * groups.inner, groups.inner):
            for i in range(x.shape[1]):
                y[r, i] = activated(less(x[r, i], c0, c1) * c2 * weight[i] + bias[i], line)  # φ(z)


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
    part_dbias = np.zeros(length, x.dtype)
    moved = np.empty(1, np.intp)
    width, n = few(x, repeat), repeat * length
    all_values = np.empty((2, width))
    values = (all_values[0], all_values[1])
    all_c = np.empty((3, width), x.dtype)
    c = (all_c[0], all_c[1], all_c[2])
    ok = np.empty(width, np.bool_)
    for unit in units_of(turn, units):
        weight = parameters[0][unit % period]
        bias = parameters[1][unit % period]
        moved[0] = 0
        dweight = grads[0][unit]
        fill(dweight, 0.0)
        dbias = grads[1][unit]
        fill(dbias, 0.0)
        first, last = groups_of(unit, units[0] * period, len(fine), period)
        for top in range(first, last, width * period):
            groups = Groups(top, min(top + width * period, last), period, repeat, inner)
            fill(ok, True)
            _inner_gradient_find_0(options, groups, statistics, values, c, ok)
            _inner_gradient_write(
                dy, x, weight, bias, line, groups, c, dx, part_dweight, part_dbias, dweight, dbias, moved
            )
            keep(ok, groups, fine)
        move_sum(part_dweight, dweight)
        move_sum(part_dbias, dbias)


@noalias
def _inner_gradient_find_0(options, groups, statistics, values, c, ok):
    """What is known before the sums are taken."""
    single = c[0].itemsize < 8
    eps = options[0]
    one = 1.0
    mean = values[0]
    var = values[1]
    c0 = c[0]
    c1 = c[1]
    c2 = c[2]
    for j in range(length_of(groups)):
        mean[j] = statistics[0][groups.first + j * groups.step]
        var[j] = statistics[1][groups.first + j * groups.step]
    for j in range(length_of(groups)):
        c0[j] = mean[j]  # μ
        c1[j] = mean[j] - c0[j]  # what rounding took
        c2[j] = one / np.sqrt(var[j] + eps)  # 1/√(σ² + ε)
        ok[j] &= in_range(c2[j], single)
        ok[j] &= in_range(mean[j], single)
        ok[j] &= in_range(var[j], single)


@noalias
def _inner_gradient_write(dy, x, weight, bias, line, groups, c, dx, part_dweight, part_dbias, dweight, dbias, moved):
    """The gradient of x."""
    for j in range(length_of(groups)):
        top = first_row(groups, j)
        c0 = c[0][j]
        c1 = c[1][j]
        c2 = c[2][j]
        for r in range(top, top + groups.repeat * groups.inner, groups.inner):
            for i in range(x.shape[1]):
                v0 = less(x[r, i], c0, c1)  # x − μ
                v1 = times_derivative(dy[r, i], v0 * c2 * weight[i] + bias[i], line)  # g · φ'(z)
                dx[r, i] = v1 * c2 * weight[i]  # g · φ'(z) · γ · 1/√(σ² + ε)
                part_dweight[i] += v1 * c2 * v0
                part_dbias[i] += v1
            moved[0] += 1
            if moved[0] == ROWS:
                move_sum(part_dweight, dweight)
                move_sum(part_dbias, dbias)
                moved[0] = 0


@Kernel
def outer_forward(x, parameters, options, line, units, statistics, fine, y):
    """Write y for a matrix [K0 R0, K1 R1], of which the rows of one k0 are a group; tell as above."""
    groups, blocks, length = units[0], units[1], x.shape[1]
    c = np.empty((groups, 3, length), x.dtype)
    for group in range(groups):
        fill(fine[group], True)
    if blocks == 1:
        for k0 in prange(groups):
            group = np.intp(k0)
            _outer_forward_find_0(group, x, parameters, options, units, statistics, c, fine)
            _outer_forward_write(group, units, x, parameters, line, c, y)
    else:
        for group in range(groups):
            _outer_forward_find_0(group, x, parameters, options, units, statistics, c, fine)
        for turn in prange(groups * blocks):
            # what was read last may still be in the cache
            _outer_forward_write(groups * blocks - 1 - np.intp(turn), units, x, parameters, line, c, y)
    return all_of(fine)


@device
def _outer_forward_find_0(group, x, parameters, options, units, statistics, c, fine):
    """What is known before the sums are taken."""
    share, single, length = units[2], x.itemsize < 8, x.shape[1]
    weight = parameters[0][group % units[3]]
    mean = statistics[0][group]
    var = statistics[1][group]
    c0 = c[group, 0]
    c1 = c[group, 1]
    c2 = c[group, 2]
    ok = fine[group]
    eps = options[0]
    one = 1.0
    for k in range(length):
        c0[k] = mean[k]  # μ
        c1[k] = mean[k] - c0[k]  # what rounding took
        c2[k] = one / np.sqrt(var[k] + eps) * weight[k]  # 1/√(σ² + ε) · γ
        ok[k] &= in_range(c2[k], single)
        ok[k] &= in_range(mean[k], single)
        ok[k] &= in_range(var[k], single)


@noalias
def _outer_forward_write(unit, units, x, parameters, line, c, y):
    """The output."""
    group, rows = unit // units[1], rows_of(x, unit, units[0] * units[1])
    x, y = x[rows], y[rows]
    bias = parameters[1][group % units[3]]
    c0 = c[group, 0]
    c1 = c[group, 1]
    c2 = c[group, 2]
    for r in range(len(x)):
        for k in range(x.shape[1]):
            y[r, k] = activated(less(x[r, k], c0[k], c1[k]) * c2[k] + bias[k], line)  # φ(z)


@Kernel
def outer_gradient(dy, x, parameters, options, line, units, statistics, fine, dx, grads):
    """Write dx for a matrix [K0 R0, K1 R1], of which the rows of one k0 are a group; tell as above."""
    groups, blocks, length = units[0], units[1], x.shape[1]
    sums = np.empty((groups * blocks, 2, length))
    c = np.empty((groups, 3, length), x.dtype)
    for group in range(groups):
        fill(fine[group], True)
    if blocks == 1:
        for k0 in prange(groups):
            group = np.intp(k0)
            _outer_gradient_find_0(group, x, parameters, options, units, statistics, c, fine)
            _outer_gradient_sum_0(group, units, dy, x, parameters, line, c, sums)
            _outer_gradient_find_1(group, x, options, units, statistics, sums, fine, grads)
            _outer_gradient_write(group, units, dy, x, parameters, line, c, dx)
    else:
        for group in range(groups):
            _outer_gradient_find_0(group, x, parameters, options, units, statistics, c, fine)
        for unit in prange(groups * blocks):
            _outer_gradient_sum_0(np.intp(unit), units, dy, x, parameters, line, c, sums)
        for group in range(groups):
            _outer_gradient_find_1(group, x, options, units, statistics, sums, fine, grads)
        for turn in prange(groups * blocks):
            # what was read last may still be in the cache
            _outer_gradient_write(groups * blocks - 1 - np.intp(turn), units, dy, x, parameters, line, c, dx)
    return all_of(fine)


@device
def _outer_gradient_find_0(group, x, parameters, options, units, statistics, c, fine):
    """What is known before the sums are taken."""
    share, single, length = units[2], x.itemsize < 8, x.shape[1]
    weight = parameters[0][group % units[3]]
    mean = statistics[0][group]
    var = statistics[1][group]
    c0 = c[group, 0]
    c1 = c[group, 1]
    c2 = c[group, 2]
    ok = fine[group]
    eps = options[0]
    one = 1.0
    for k in range(length):
        c0[k] = mean[k]  # μ
        c1[k] = mean[k] - c0[k]  # what rounding took
        c2[k] = one / np.sqrt(var[k] + eps) * weight[k]  # 1/√(σ² + ε) · γ
        ok[k] &= in_range(c2[k], single)
        ok[k] &= in_range(mean[k], single)
        ok[k] &= in_range(var[k], single)


@device
def _outer_gradient_sum_0(unit, units, dy, x, parameters, line, c, sums):
    """The sums of a unit's columns."""
    group, rows = unit // units[1], rows_of(x, unit, units[0] * units[1])
    bias = parameters[1][group % units[3]]
    c0 = c[group, 0]
    c1 = c[group, 1]
    c2 = c[group, 2]
    part_sum0 = np.empty(x.shape[1], x.dtype)
    fill(part_sum0, 0.0)
    part_sum1 = np.empty(x.shape[1], x.dtype)
    fill(part_sum1, 0.0)
    _outer_gradient_rows_0(
        dy[rows], x[rows], bias, line, c0, c1, c2, (part_sum0, part_sum1), (sums[unit, 0], sums[unit, 1])
    )


@noalias
def _outer_gradient_rows_0(dy, x, bias, line, c0, c1, c2, parts, sums):
    """The rows of a unit, four at a time, which saves their sums a way through memory."""
    fill(sums[0], 0.0)
    fill(sums[1], 0.0)
    for top in range(0, len(x), ROWS):
        stop = min(top + ROWS, len(x))
        whole = stop - (stop - top) % 4
        for r in range(top, whole, 4):
            for k in range(x.shape[1]):
                e0 = _outer_gradient_terms_0(r, k, dy, x, bias, line, c0, c1, c2)
                e1 = _outer_gradient_terms_0(r + 1, k, dy, x, bias, line, c0, c1, c2)
                e2 = _outer_gradient_terms_0(r + 2, k, dy, x, bias, line, c0, c1, c2)
                e3 = _outer_gradient_terms_0(r + 3, k, dy, x, bias, line, c0, c1, c2)
                parts[0][k] += (e0[0] + e1[0]) + (e2[0] + e3[0])
                parts[1][k] += (e0[1] + e1[1]) + (e2[1] + e3[1])
        for r in range(whole, stop):
            for k in range(x.shape[1]):
                e0 = _outer_gradient_terms_0(r, k, dy, x, bias, line, c0, c1, c2)
                parts[0][k] += e0[0]
                parts[1][k] += e0[1]
        move_sum(parts[0], sums[0])
        move_sum(parts[1], sums[1])


@inline
def _outer_gradient_terms_0(r, k, dy, x, bias, line, c0, c1, c2):
    """What a number adds to the sums."""
    v0 = less(x[r, k], c0[k], c1[k])  # x − μ
    v1 = times_derivative(dy[r, k], v0 * c2[k] + bias[k], line)  # g · φ'(z)
    return (
        v1 * v0,  # g · φ'(z) · (x − μ)
        v1,  # g · φ'(z)
    )


@device
def _outer_gradient_find_1(group, x, options, units, statistics, sums, fine, grads):
    """What follows from the sums."""
    share, single, length = units[2], x.itemsize < 8, x.shape[1]
    var = statistics[1][group]
    sum0 = gather_sum(sums[group * units[1] : (group + 1) * units[1], 0])
    sum1 = gather_sum(sums[group * units[1] : (group + 1) * units[1], 1])
    dweight = grads[0][group]
    dbias = grads[1][group]
    ok = fine[group]
    eps = options[0]
    one = 1.0
    for k in range(length):
        dweight[k] = sum0[k] * (one / np.sqrt(var[k] + eps))  # Σ over all rows
        dbias[k] = sum1[k]  # Σ over all rows


@noalias
def _outer_gradient_write(unit, units, dy, x, parameters, line, c, dx):
    """The gradient of x."""
    group, rows = unit // units[1], rows_of(x, unit, units[0] * units[1])
    dy, x, dx = dy[rows], x[rows], dx[rows]
    bias = parameters[1][group % units[3]]
    c0 = c[group, 0]
    c1 = c[group, 1]
    c2 = c[group, 2]
    for r in range(len(x)):
        for k in range(x.shape[1]):
            # g · φ'(z) · γ · 1/√(σ² + ε)
            dx[r, k] = times_derivative(dy[r, k], less(x[r, k], c0[k], c1[k]) * c2[k] + bias[k], line) * c2[k]
