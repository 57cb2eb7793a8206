"""The text of an outer reduction: of a matrix [K0 R0, K1 R1], the rows of one k0 are a group, with sums by columns.

Where groups are cut into blocks, all blocks go through a stage before the next one begins; else each group goes through
all of them. Groups also wait for each other where a statistic is reduced over a set of axes that is not all in K1.
"""

from __future__ import annotations

import itertools

from tinygrad_norm.derivation.expression import Expression
from tinygrad_norm.derivation.writer import FIRST, KIND, Writer, block, function, has_word, taken, terms, tuple_of

_ROWS = "group, rows = unit // units[1], rows_of(x, unit, units[0] * units[1])"


def outer_reduction(w: Writer) -> list[str]:
    """The texts of the kernel and of its functions."""
    shapes = {
        "sums": (f"(groups * blocks, {len(w.sums)}, length)", w.sums),
        "values": (f"(groups, {len(_own(w))}, length)", _own(w)),
        "joins": (f"({len(w.names.joins)}, groups, length)", w.names.joins),
        "c": (f"(groups, {len(w.c) + w.starts(0)}, length), x.dtype", [*w.c, *w.listed(start=w.starts(0))]),
    }
    lines = ["groups, blocks, length = units[0], units[1], x.shape[1]"]
    lines += [f"{name} = np.empty({shape})" for name, (shape, needed) in shapes.items() if needed]
    lines += block("for group in range(groups):", "fill(fine[group], True)")
    alone = block("for k0 in prange(groups):", "group = np.intp(k0)", *_stages(w, apart=False))
    within = [f"units[{4 + 2 * i}] * units[{5 + 2 * i}] <= length" for i in range(len(w.program.lowering.others))]
    lines += [
        *block(f"if {' and '.join(['blocks == 1', *within])}:", *alone),
        *block("else:", *_stages(w, apart=True)),
        "return all_of(fine)",
    ]
    about = f"Write {w.result} for a matrix [K0 R0, K1 R1], of which the rows of one k0 are a group; tell as above."
    texts = [function("Kernel", w.name, [*w.given(), w.result, *w.listed(grads=w.program.totals)], about, *lines)]
    for number in range(len(w.stages)):
        texts += [_find(w, number, part) for part, each in enumerate(w.found[number]) if each.lines]
        texts += [_write(w)] if number == w.last else [_sum(w, number), _rows(w, number), _terms(w, number)]
    return texts


def _stages(w: Writer, apart: bool) -> list[str]:
    """All stages, of one group, or of all groups, whose blocks are apart."""

    def groups(line: str) -> list[str]:
        return block("for group in range(groups):", line) if apart else [line]

    def find(number: int, part: int = 0) -> str:
        return f"{_find_name(w, number, part)}({', '.join(_find_arguments(w, number, part))})"

    def finds(number: int) -> list[str]:
        again = number and w.starts(number - 1)  # the first part stands with the sums
        lines = groups(find(number)) if w.found[number][0].lines and not again else []
        for part, before in enumerate(w.found[number][:-1], 1):
            for op, over, name in before.joins:
                which = f"joins[{w.names.joins.index(name)}{'].ravel()' if apart else ', group]'}"
                lines.append(f"join_{op}({which}, units[{4 + 2 * over} : {6 + 2 * over}])")
            lines += groups(find(number, part))
        return lines

    lines: list[str] = []
    for number in range(w.last):
        lines += finds(number)
        call = f"_{w.name}_sum_{number}({{}}, {', '.join(_loop_arguments(w, number)[1:])})"
        units = "for unit in prange(groups * blocks):"
        take = block(units, call.format("np.intp(unit)")) if apart else [call.format("group")]
        if w.starts(number):
            start = f"units[2], sums[group * blocks, 0], c[group, {len(w.c)}]"
            lines += groups(f"start_of_columns(x[rows_of(x, group, groups)], {start})")
            step = ["near = True", *groups(f"near &= {find(number + 1)}")] if apart else [f"near = {find(number + 1)}"]
            take = block("for _ in range(ATTEMPTS):", *take, *step, *block("if near:", "break"))
        lines += take
    lines += finds(w.last)
    arguments = ", ".join(_loop_arguments(w, w.last)[1:])
    if not apart:
        return [*lines, f"_{w.name}_write(group, {arguments})"]
    write = f"_{w.name}_write(groups * blocks - 1 - np.intp(turn), {arguments})"
    comment = "# what was read last may still be in the cache"
    return lines + block("for turn in prange(groups * blocks):", comment, write)


def _own(w: Writer) -> list[str]:
    """The values that are no statistics."""
    return w.names.values[len(w.statistics) :]


def _find_name(w: Writer, number: int, part: int) -> str:
    return f"_{w.name}_find_{number}{f'_{part}' if part else ''}"


def _find_arguments(w: Writer, number: int, part: int) -> list[str]:
    lines, head, used = w.find(number, "length", part)
    text = "\n".join(lines)
    return [
        "group",
        "x",
        *w.listed(
            parameters=any(has_word(name, text) for name in w.parameters), options=any("options" in h for h in head)
        ),
        "units",
        *w.listed(statistics=used & {*w.statistics}, sums=used & {*w.sums}, values=used & {*_own(w)}),
        *w.listed(joins=used & {*w.names.joins}),
        *w.listed(c=used & {*w.c, "start"}),
        "fine",
        *w.listed(grads=used & {*w.program.totals}),
    ]


def _find(w: Writer, number: int, part: int) -> str:
    lines, head, used = w.find(number, "length", part)
    text = "\n".join(lines)
    kinds = {name: KIND[node.value] for node, name in w.names.sums.items()}
    names = ["share, single, length = units[2], x.itemsize < 8, x.shape[1]"]
    names += ["n = len(x) // units[0] * share"] if has_word("n", text) else []
    sets = range(len(w.program.lowering.others))
    names += [f"n{i} = units[{4 + 2 * i}]" for i in sets if has_word(f"n{i}", text)]
    parameters = [*enumerate(w.parameters)]
    names += [f"{name} = parameters[{i}][group % units[3]]" for i, name in parameters if has_word(name, text)]
    names += [f"{name} = statistics[{i}][group]" for i, name in enumerate(w.statistics) if name in used]
    names += [f"{name} = values[group, {i}]" for i, name in enumerate(_own(w)) if name in used]
    names += [f"{name} = joins[{i}, group]" for i, name in enumerate(w.names.joins) if name in used]
    before = [*itertools.chain.from_iterable(w.found[:number]), *w.found[number][:part]]
    gathered = {name for each in before for name in each.used}
    for i, name in enumerate(w.sums):
        if name in used:
            rows = f"sums[group * units[1] : (group + 1) * units[1], {i}]"
            row = f"sums[group * units[1], {i}]"
            names.append(f"{name} = {row if name in gathered else f'gather_{kinds[name]}({rows})'}")
    names += [f"start = c[group, {len(w.c)}]"] if "start" in used else []
    names += [f"{name} = c[group, {i}]" for i, name in enumerate(w.c) if name in used]
    names += [f"{name} = grads[{i}][group]" for i, name in enumerate(w.program.totals) if name in used]
    about = "What is known before the sums are taken." if number == 0 else "What follows from the sums."
    near = ["return near"] if part == 0 and number and w.starts(number - 1) else []
    body = [*names, "ok = fine[group]", *head, *lines, *near]
    return function("device", _find_name(w, number, part), _find_arguments(w, number, part), about, *body)


def _loop_arguments(w: Writer, number: int) -> list[str]:
    return [
        "unit",
        "units",
        *[name for name in w.data if name in w.loops[number].used or name == "x"],
        *w.listed(parameters=w.uses(number, w.parameters), line=w.has_line(number)),
        *w.listed(c=w.uses(number, w.c) or w.starts(number), sums=number != w.last),
        *([w.result] if number == w.last else []),
    ]


def _write(w: Writer) -> str:
    number, arguments = w.last, _loop_arguments(w, w.last)
    (written,) = w.program.written.values()
    arrays = [name for name in arguments if name in (*w.data, w.result)]
    lines = [_ROWS, f"{', '.join(arrays)} = {', '.join(f'{name}[rows]' for name in arrays)}"]
    lines += _columns(w, number) + w.real(number)
    element = [*w.lines[number], f"{w.result}[r, k] = {w.codes[number][-1]}  # {w.style.write(written)}"]
    lines += block("for r in range(len(x)):", *block("for k in range(x.shape[1]):", *element))
    about = "The gradient of x." if w.backward else "The output."
    return function("noalias", f"_{w.name}_write", arguments, about, *lines)


def _columns(w: Writer, number: int) -> list[str]:
    """Lines that name the columns' parameters and coefficients."""
    used = {*w.uses(number, [*w.parameters, *w.c])}
    lines = [f"{name} = parameters[{i}][group % units[3]]" for i, name in enumerate(w.parameters) if name in used]
    return lines + [f"{name} = c[group, {i}]" for i, name in enumerate(w.c) if name in used]


def _sum(w: Writer, number: int) -> str:
    sums = [w.names.sums[node] for node in w.stages[number].sums]
    lines = [_ROWS, *_columns(w, number)]
    for node, name in zip(w.stages[number].sums, sums, strict=True):
        dtype = "np.float64" if node.value == "exact" else "x.dtype"
        lines += [f"part_{name} = np.empty(x.shape[1], {dtype})", f"fill(part_{name}, {FIRST[node.value]})"]
    given = [f"{name}[rows]" if name in w.data else name for name in _row_arguments(w, number)]
    given = [f"c[group, {len(w.c)}]" if name == "start" else name for name in given]
    given += [tuple_of(f"part_{name}" for name in sums), tuple_of(f"sums[unit, {w.sums.index(name)}]" for name in sums)]
    lines.append(f"_{w.name}_rows_{number}({', '.join(given)})")
    return function(
        "device", f"_{w.name}_sum_{number}", _loop_arguments(w, number), "The sums of a unit's columns.", *lines
    )


def _row_arguments(w: Writer, number: int) -> list[str]:
    return [
        *[name for name in w.data if name in w.loops[number].used or name == "x"],
        *w.uses(number, w.parameters),
        *w.listed(line=w.has_line(number), start=w.starts(number)),
        *w.uses(number, w.c),
    ]


def _rows(w: Writer, number: int) -> str:
    sums = w.stages[number].sums
    arguments = _row_arguments(w, number)
    terms = [f"e{j} = _{w.name}_terms_{number}(r{f' + {j}' if j else ''}, k, {', '.join(arguments)})" for j in range(4)]

    def over(rows: str, count: int) -> list[str]:
        each = [*terms[:count], *(_take(node, i, count) for i, node in enumerate(sums))]
        return block(rows, *block("for k in range(x.shape[1]):", *each))

    lines = [f"fill(sums[{i}], {FIRST[node.value]})" for i, node in enumerate(sums)]
    lines += block(
        "for top in range(0, len(x), ROWS):",
        "stop = min(top + ROWS, len(x))",
        "whole = stop - (stop - top) % 4",
        *over("for r in range(top, whole, 4):", 4),
        *over("for r in range(whole, stop):", 1),
        *(f"move_{KIND[node.value]}(parts[{i}], sums[{i}])" for i, node in enumerate(sums)),
    )
    about = "The rows of a unit, four at a time, which saves their sums a way through memory."
    return function("noalias", f"_{w.name}_rows_{number}", [*arguments, "parts", "sums"], about, *lines)


def _take(node: Expression, i: int, rows: int) -> str:
    """The line that takes one row or four into a part."""
    if node.value in ("max", "min"):
        value = f"e0[{i}]"
        for j in range(1, rows):
            value = taken(node.value, value, f"e{j}[{i}]").split(" = ")[1]
        return taken(node.value, f"parts[{i}][k]", value)
    return f"parts[{i}][k] += " + (f"e0[{i}]" if rows == 1 else f"(e0[{i}] + e1[{i}]) + (e2[{i}] + e3[{i}])")


def _terms(w: Writer, number: int) -> str:
    return terms(w, number, "inline", ["r", "k", *_row_arguments(w, number)])
