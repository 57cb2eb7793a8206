"""The text of an inner reduction: of a matrix [K0 R0 K1, R1], R0 rows are a group, and a statistic is one number.

A unit of work takes a few groups at a time through all stages: what is found of each of them, then a pass over them.
Where each group has parameters of its own, there are as many units; so several follow each other in the same memory.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_norm.derivation.writer import FIRST, Writer, block, function, has_word, taken, terms, tuple_of

_FAST = {"max": "raised", "min": "lowered"}

_ROWS = "for r in range(top, top + groups.repeat * groups.inner, groups.inner):"


def inner_reduction(w: Writer) -> list[str]:
    """The texts of the kernel and of its functions."""
    results = [w.result, *w.listed(grads=w.added)]
    arguments = ", ".join(["np.intp(turn)", *w.given(), *results])
    kernel = function(
        "Kernel",
        w.name,
        [*w.given(), *results],
        f"Write {w.result} for a matrix [K0 R0 K1, R1], of which R0 rows are a group; tell if all are in range.",
        *block("for turn in prange(turns_of(units)):", f"_{w.name}_turn({arguments})"),
        "return all_of(fine)",
    )
    texts = [kernel, _turn(w, results)]
    for number in range(len(w.stages)):
        texts += [_find(w, number)] if _finds(w, number) else []
        texts += [_write(w)] if number == w.last else [_sum(w, number), _add(w, number), _terms(w, number)]
    return texts


def _turn(w: Writer, results: list[str]) -> str:
    lines = ["repeat, inner, period, length = units[1], units[2], units[3], x.shape[1]"]
    lines += [f"part_{name} = np.zeros(length, x.dtype)" for name in w.added]
    lines += ["moved = np.empty(1, np.intp)"] if w.added else []
    lines += ["width, n = few(x, repeat), repeat * length"]
    for name, count, dtype in (("values", w.names.values, ""), ("sums", w.sums, ""), ("c", w.c, ", x.dtype")):
        if count:
            rows = tuple_of(f"all_{name}[{i}]" for i in range(len(count)))
            lines += [f"all_{name} = np.empty(({len(count)}, width){dtype})", f"{name} = {rows}"]
    lines += ["start = np.empty(width, x.dtype)"] if w.starts(0) else []
    lines.append("ok = np.empty(width, np.bool_)")
    unit = [f"{name} = parameters[{i}][unit % period]" for i, name in enumerate(w.parameters)]
    unit += ["moved[0] = 0"] if w.added else []
    for i, name in enumerate(w.added):
        unit += [f"{name} = grads[{i}][unit]", f"fill({name}, 0.0)"]
    unit.append("first, last = groups_of(unit, units[0] * period, len(fine), period)")
    body = ["groups = Groups(top, min(top + width * period, last), period, repeat, inner)", "fill(ok, True)"]
    for number in range(len(w.stages)):
        if _finds(w, number):
            body.append(f"_{w.name}_find_{number}({', '.join(_find_arguments(w, number))})")
        what = "write" if number == w.last else f"sum_{number}"
        body.append(f"_{w.name}_{what}({', '.join(_loop_arguments(w, number))})")
    unit += block("for top in range(first, last, width * period):", *body, "keep(ok, groups, fine)")
    unit += [f"move_sum(part_{name}, {name})" for name in w.added]
    lines += block("for unit in units_of(turn, units):", *unit)
    about = "Some units of work: a few groups at a time."
    return function("device", f"_{w.name}_turn", ["turn", *w.given(), *results], about, *lines)


def _finds(w: Writer, number: int) -> bool:
    """Whether something is computed before the loop of a stage."""
    return bool(w.found[number][0].lines or (number == 0 and w.loaded) or (number == w.last and w.stored))


def _find_arguments(w: Writer, number: int) -> list[str]:
    lines, head, used = w.find(number, "")
    moves = (number == 0 and w.loaded) or (number == w.last and w.stored)
    return [
        *w.listed(options=any("options" in line for line in head), n=has_word("n", "\n".join(lines)), groups=True),
        *w.listed(
            statistics=moves, values=w.names.values, sums=used & {*w.sums}, start="start" in used, c=w.c, ok=True
        ),
    ]


def _find(w: Writer, number: int) -> str:
    lines, head, used = w.find(number, "length_of(groups)")
    loaded, stored = w.loaded if number == 0 else [], w.stored if number == w.last else []
    used = used | {*loaded, *stored}
    head = [*(["single = c[0].itemsize < 8"] if any("single" in line for line in lines) else []), *head]
    head += w.rows(used, "values", w.names.values) + w.rows(used, "sums", w.sums) + w.rows(used, "c", w.c)
    place = [f"statistics[{i}][groups.first + j * groups.step]" for i in range(len(w.statistics))]
    known = dict(zip(w.statistics, place, strict=True))
    load = [f"{name}[j] = {known[name]}" for name in loaded]
    store = [f"{known[name]} = {name}[j]" for name in stored]
    for moves, at in ((load, 0), (store, len(lines))):
        if moves:
            lines[at:at] = block("for j in range(length_of(groups)):", *moves)
    about = "What is known before the sums are taken." if number == 0 else "What follows from the sums."
    return function("noalias", f"_{w.name}_find_{number}", _find_arguments(w, number), about, *head, *lines)


def _loop_arguments(w: Writer, number: int) -> list[str]:
    added, last = [*w.stages[number].added], number == w.last
    return [
        *[name for name in (*w.data, *w.parameters) if name in w.loops[number].used or name == "x"],
        *w.listed(line=w.has_line(number), groups=True, n=w.starts(number), start=w.starts(number)),
        *w.listed(c=w.uses(number, w.c), sums=not last),
        *([w.result] if last else []),
        *(f"part_{name}" for name in added),
        *added,
        *w.listed(moved=added),
    ]


def _sum(w: Writer, number: int) -> str:
    stage, starts = w.stages[number], w.starts(number)
    sums = [w.names.sums[node] for node in stage.sums]
    totals = [f"total_{name}" for name in sums]
    given = [f"{name}[r]" if name in w.data else name for name in _row_arguments(w, number)]
    given = ["start[j]" if name == "start" else name for name in given]
    call = f"_{w.name}_add_{number}({', '.join([*given, 'np.uintp(i)', 'stop'])})"
    each = [
        "stop = np.uintp(min(i + TERMS, x.shape[1]))",
        f"{', '.join(sums)}{',' if len(sums) == 1 else ''} = {call}" if sums else call,
    ]
    each += [taken(node.value, total, name) for node, total, name in zip(stage.sums, totals, sums, strict=True)]
    loop = [f"{total} = {FIRST[node.value]}" for node, total in zip(stage.sums, totals, strict=True)]
    loop += block(_ROWS, *block("for i in range(0, x.shape[1], TERMS):", *each), *_moved(stage.added))
    if starts:
        again = [*loop, f"near = is_near({totals[0]}, {totals[1]}, n)", *block("if near:", "break")]
        again.append(f"start[j] += {totals[0]} / n")
        loop = ["start[j], near = start_of_row(x[top]), False", *block("for _ in range(ATTEMPTS):", *again)]
        loop += block("if not near:", f"{totals[0]} = np.nan")
    body = ["top = first_row(groups, j)", *_constants(w, number), *loop]
    body += [f"sums[{w.sums.index(name)}][j] = {total}" for name, total in zip(sums, totals, strict=True)]
    lines = block("for j in range(length_of(groups)):", *body)
    about = "The sums of each group."
    return function("noalias", f"_{w.name}_sum_{number}", _loop_arguments(w, number), about, *lines)


def _constants(w: Writer, number: int) -> list[str]:
    used = w.uses(number, w.c)
    return [f"{name} = c[{i}][j]" for i, name in enumerate(w.c) if name in used]


def _moved(added: Iterable[str]) -> list[str]:
    """After a row: what rows added to the parameters' gradients is moved to float64 now and then."""
    moves = [f"move_sum(part_{name}, {name})" for name in added]
    return ["moved[0] += 1", *block("if moved[0] == ROWS:", *moves, "moved[0] = 0")] if moves else []


def _row_arguments(w: Writer, number: int) -> list[str]:
    return [
        *[name for name in (*w.data, *w.parameters) if name in w.loops[number].used or name == "x"],
        *w.listed(line=w.has_line(number)),
        *w.uses(number, w.c),
        *w.listed(start=w.starts(number)),
        *(f"part_{name}" for name in w.stages[number].added),
    ]


def _add(w: Writer, number: int) -> str:
    """The function in which sums are taken in any order, and nothing else is."""
    stage, added = w.stages[number], w.added_codes(number)
    sums = [w.names.sums[node] for node in stage.sums]
    given, parts = _row_arguments(w, number), [f"part_{name}" for name, _ in added]
    lines = []
    for node, name in zip(stage.sums, sums, strict=True):
        first = FIRST[node.value]
        lines.append(f"{name} = {first if node.value == 'exact' else f'x.dtype.type({first})'}")
    call = f"e = _{w.name}_terms_{number}(i, {', '.join(name for name in given if name not in parts)})"
    takes, results = [], []
    for i, (node, name) in enumerate(zip(stage.sums, sums, strict=True)):
        if node.value in _FAST:  # NaN is seen apart, and the loop is vectorized
            lines.append(f"nan{i} = False")
            takes += [f"{name} = {_FAST[node.value]}(e[{i}], {name})", f"nan{i} |= e[{i}] != e[{i}]"]
            results.append(f"unless(nan{i}, {name})")
        else:
            takes.append(taken(node.value, name, f"e[{i}]"))
            results.append(name)
    takes += [f"{part}[i] += e[{i}]" for i, part in enumerate(parts, len(sums))]
    lines += block("for i in range(first, last):", call, *takes)
    lines += [f"return {', '.join(results)}{',' if len(sums) == 1 else ''}"] if sums else []
    about = "The sums of some numbers of a row."
    return function("reassociate", f"_{w.name}_add_{number}", [*given, "first", "last"], about, *lines)


def _terms(w: Writer, number: int) -> str:
    parts = {f"part_{name}" for name in w.stages[number].added}
    arguments = ["i", *(name for name in _row_arguments(w, number) if name not in parts)]
    return terms(w, number, "ordered", arguments)


def _write(w: Writer) -> str:
    number = w.last
    (written,) = w.program.written.values()
    element = [*w.lines[number], f"{w.result}[r, i] = {w.codes[number][-1]}  # {w.style.write(written)}"]
    element += [f"part_{name}[i] += {code}" for name, code in w.added_codes(number)]
    row = [*block("for i in range(x.shape[1]):", *element), *_moved(w.stages[number].added)]
    body = ["top = first_row(groups, j)", *_constants(w, number), *block(_ROWS, *row)]
    lines = [*w.real(number), *block("for j in range(length_of(groups)):", *body)]
    about = "The gradient of x." if w.backward else "The output."
    return function("noalias", f"_{w.name}_write", _loop_arguments(w, number), about, *lines)
