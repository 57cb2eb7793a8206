"""The stages of a program: each thing stands where all that it needs is known, and no later."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import pytest

from tests.derivation.agreement import OF_SETS
from tinygrad_norm.derivation.expression import walk
from tinygrad_norm.derivation.program import Program, backward, forward
from tinygrad_norm.derived import DerivedNorm, derive

norms = run_path(str(Path(__file__).parent / "norms.py"))


def programs(norm: DerivedNorm, outer: bool) -> tuple[Program, Program]:
    names = ["x", *(each.value for each in norm.traced.parameters)]
    gradients = dict(zip(names, norm.gradients, strict=True))
    return forward(norm.traced, norm.way, outer), backward(norm.traced, norm.way, gradients, outer)


@pytest.mark.parametrize("name", [name for name in norms if name.endswith("_norm")])
def test_nothing_is_used_before_it_is_known(name):
    norm = derive(norms[name])
    for program in programs(norm, name in OF_SETS):
        known = {*norm.way.statistics} if "dx" in program.written else set()
        sums: set[object] = set()
        for number, stage in enumerate(program.stages):
            for value in stage.values:
                for node in walk(program.lowering.values[value], known=known):
                    assert node.op != "adjoint" or node in known
                    assert node.op != "accumulated" or node in sums
                known.add(value)
            sums |= {*stage.sums}
            assert bool(stage.sums) or number == len(program.stages) - 1 or stage.added


def test_adjoints_that_nobody_wants_are_left_out():
    norm = derive(norms["masked_norm"])
    program = backward(norm.traced, norm.way, {"x": norm.gradients[0]}, False)
    found = {norm.traced.names[each.value] for each in program.lowering.values if each.op == "adjoint"}
    assert found == {"s2", "s3"}
    assert len(programs(norm, False)[1].lowering.values) > len(program.lowering.values)


def test_a_pass_waits_for_what_its_terms_need():
    there = programs(derive(norms["fourth_moment_norm"]), False)[0]
    first, second, last = there.stages
    assert [len(stage.sums) for stage in there.stages] == [2, 1, 0]
    assert [len(stage.values) for stage in there.stages] == [0, 1, 1]
    assert not any(node.op == "accumulated" for node in walk(first.sums[0].inputs[0]))
    assert second.values[0] in walk(second.sums[0].inputs[0])
    assert last.values[0] in walk(there.written["y"])
