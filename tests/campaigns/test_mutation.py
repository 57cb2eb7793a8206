"""The campaign's tools: which faults are made, which are not, and that a fault reaches the tests."""

from __future__ import annotations

import ast
import os
import shutil

import pytest

from tests.campaigns import mutation, mutation_equivalents
from tests.campaigns.mutation_operators import Mutant, fingerprint, mutants


def faults(source):
    """The source with each fault in it, as the parser prints it."""
    return {ast.unparse(ast.parse(mutant.apply(source))) for mutant in mutants(source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"a <= b"}),
        ("a == b is c", {"a != b is c", "a == b is not c"}),
        ("a * (b + c)", {"a / (b + c)", "a * (b - c)"}),
        ("a += b", {"a -= b", "pass"}),
        ("a and b", {"a or b"}),
        ("a = not b, -c", {"a = (b, -c)", "a = (not b, c)"}),
        ("a = 3, 0.5", {"a = (4, 0.5)", "a = (2, 0.5)", "a = (3, 1.5)", "a = (3, -0.5)"}),
        ("a = True", {"a = False"}),
        ("a = b if c else d", {"a = b if not c else d"}),
        ("a = [b for b in c if d]", {"a = [b for b in c if not d]"}),
        ("def f():\n    return a", {"def f():\n    return None"}),
        ("a = f(b, c, d=e)", {"a = f(b, d=e)", "a = f(c, b, d=e)", "a = f(b, c)"}),
        ("a = b[c:]", {"a = b[c + 1:]", "a = b[c:-1]"}),
        ("a = 'ä', b < c", {"a = ('ä', b <= c)"}),
        ("while a:\n    break", {"while not a:\n    break", "while a:\n    pass"}),
    ],
)
def test_each_kind_of_fault_is_made(source, expected):
    assert faults(source) == expected


def test_a_statement_is_dropped_unless_only_a_name_would_be_missing():
    source = "def f(a):\n    a = b\n    c = a\n    d.e = c\n    g()"
    dropped = {mutant.before for mutant in mutants(source) if mutant.text == "pass"}
    assert dropped == {"a = b", "d.e = c", "g()"}


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring of 1."""',
        "__all__ = ['a', *b(1, 2)]",
        "if TYPE_CHECKING:\n    a = 1",
        "a: Literal[1]",
        "def f(a: Literal[1]) -> Literal[2]:\n    pass",
        "T = TypeVar('T', bound=1)",
        "@overload\ndef f(a=1):\n    return 2",
        "a = f'{b + 1}'",
        "a = zip(strict=True)",
        "a = isinstance(b, c)",
    ],
)
def test_what_no_test_should_notice_is_left_alone(source):
    assert faults(source) == set()


def test_of_an_error_only_its_being_raised_is_changed():
    assert faults("raise ValueError(a + 1)") == {"pass"}


def test_a_fault_knows_where_it_is():
    (fault,) = mutants("class A:\n    def f(self):\n        def g():\n            a(b, c=2 < d)\n")[-1:]
    assert (fault.line, fault.function) == (4, "A.f.g")
    assert (fault.before, fault.after) == ("a(b, c=2 < d)", "a(b, c=(1) < d)")


def test_texts_that_compile_to_one_program_are_told_from_others():
    assert fingerprint("a = 1 + 1") == fingerprint("a = 2\n\n")
    assert fingerprint("def f():\n    return None") == fingerprint("def f():\n    pass")
    for other in ("a = 2.0", "a = 3", "b = 2", "a = True + 1.0"):
        assert fingerprint(other) != fingerprint("a = 2")
    assert fingerprint("a = True") != fingerprint("a = 1")


def test_every_file_of_the_core_has_tests_of_its_name():
    assert {"tape.py", "ops/loss.py", "nn/normalization.py"} < set(mutation.core(list(mutation.CORE)))
    for file in mutation.core(list(mutation.CORE)):
        assert mutation.mirrors(file)
    assert "test_tape_memory.py" in mutation.mirrors("tape.py")
    assert [also for names in mutation.ALSO.values() for also in names if not any(mutation.TESTS.glob(also))] == []
    with pytest.raises(SystemExit, match=r"no test mirrors no/such.py; tests/no/test_such.py would"):
        mutation.mirrors("no/such.py")
    with pytest.raises(SystemExit, match=r"no file in tinygrad_norm/ is named no/such.py"):
        mutation.core(["no/such.py"])


def test_a_sample_depends_on_the_seed_alone():
    first, again, other = (mutation.sample(["optim/sgd.py", "optim/adam.py"], 20, seed)[0] for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == 20


def test_an_equivalent_mutant_is_left_out_as_long_as_its_lines_are_in_the_code(monkeypatch, capsys, tmp_path):
    everything = mutation.sample(["optim/sgd.py"], 10**6, 0)[0]
    table = tmp_path / "table.txt"
    stale = str(everything[1].fault).replace("\n- ", "\n- formerly ")
    table.write_text(f"# Nobody can tell.\n{everything[0].fault}\n{stale}\n")
    monkeypatch.setattr(mutation_equivalents, "TABLE", table)
    assert mutation_equivalents.equivalents()[everything[0].fault] == "Nobody can tell."
    assert mutation.sample(["optim/sgd.py"], 10**6, 0) == (everything[1:], 1)
    assert stale in capsys.readouterr().out


def test_every_equivalent_mutant_has_a_reason_and_a_file():
    for fault, reason in mutation_equivalents.equivalents().items():
        assert reason.endswith(".")
        assert (mutation.PACKAGE / fault.file).is_file()
        assert fault.before != fault.after


def test_a_fault_reaches_the_tests_and_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    for name, value in mutation.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    shutil.copytree(mutation.PACKAGE, tmp_path / "tinygrad_norm", ignore=shutil.ignore_patterns("__pycache__"))
    file, source = "optim/groups.py", (mutation.PACKAGE / "optim/groups.py").read_text()
    seconds = {"optim/test_groups.py": 0.1}
    fault = next(mutant for mutant in mutants(source) if mutant.text == "return None")
    unnoticed = Mutant(0, "", "", "", 0, 0, "")
    assert mutation.verdict(tmp_path, mutation.Subject(file, fault), seconds) == "killed"
    assert (tmp_path / "tinygrad_norm" / file).read_text() == source
    assert mutation.verdict(tmp_path, mutation.Subject(file, unnoticed), seconds) == "survived"
    endless = mutation.Subject(file, Mutant(0, "", "", "", len(source), len(source), "while True: pass\n"))
    monkeypatch.setattr(mutation, "LIMIT", 0.5)
    assert mutation.verdict(tmp_path, endless, {"optim/test_groups.py": 0}) == "timeout"
    assert os.environ.get("PYTHONPATH") != str(tmp_path)
