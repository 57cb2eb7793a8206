"""The certificate: what all checks found in all cases, and which mutants, wrong on purpose, they killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.certificate.case import Case
from tinygrad_norm.certificate.comparisons import BY_DESIGN, ROWS, Deviation, findings, kills
from tinygrad_norm.certificate.first_order import go_back, gradients, random_cotangent
from tinygrad_norm.certificate.memory_layouts import BROADCAST, LAYOUTS, in_fortran_order
from tinygrad_norm.certificate.mutations import mutants_of, mutated
from tinygrad_norm.certificate.targets import cases_of, name_of
from tinygrad_norm.dtypes import Array
from tinygrad_norm.tables import format_table
from tinygrad_norm.tensor import Tensor


@dataclass(frozen=True)
class Check:
    """A row: the case in which a check found most, measured by what is tolerated there.

    Example:
        >>> found = certificate.certify(lambda x: ops.exp(x), np.array([0.5, 1.0]))
        >>> found.checks[0].name, found.checks[0].ok
        ('against finite differences: first derivative', True)
    """

    name: str
    error: float
    bound: float
    case: str
    message: str
    cases: int
    """In how many cases it compared something."""
    skipped: int
    """In how many it did not, as the numbers are beyond float32."""

    @property
    def ok(self) -> bool:
        """Whether no case failed."""
        return not self.message


@dataclass(frozen=True)
class Mutant:
    """A change that makes one op's gradient wrong in one case, and the checks that killed it.

    Example:
        >>> found = certificate.certify(lambda x: ops.exp(x), np.array([0.5, 1.0]))
        >>> found.mutants[0].op, found.mutants[0].change
        ('Exp', 'the cotangent forgotten')
    """

    op: str
    change: str
    case: str
    killed_by: list[str]


@dataclass
class Certificate:
    """What was checked and found; true if all of it is in order and no mutant survived.

    Example:
        >>> found = certificate.certify(lambda x: ops.exp(x), np.array([0.5, 1.0]))
        >>> found.ok, len(found.survived)
        (True, 0)
    """

    name: str
    cases: list[str]
    sizes: list[str]
    """The shapes of the first inputs."""
    larger: list[str]
    """Those of larger ones, for first derivatives alone."""
    layouts: list[str]
    """In memory, for first derivatives; all else is contiguous."""
    constants: list[str] = field(default_factory=list)
    """Parameters of a derived norm that have no gradient by its definition."""
    holds: bool = False
    """Whether differences are taken with what `stop_gradient` returns held fast."""
    differs_by_design: str = ""
    """Why the gradient of some cases is not the derivative: one that was published so is measured, and not judged."""
    checks: list[Check] = field(default_factory=list)
    mutants: list[Mutant] = field(default_factory=list)
    """None are made where a check has failed already: it would fail for any."""
    without_effect: int = 0
    """How many more mutants were tried whose gradients are the right ones, as after a division by a size of 1."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every check passed, and every mutant was killed."""
        return all(check.ok for check in self.checks) and not self.survived

    @property
    def survived(self) -> list[Mutant]:
        """The mutants that no check killed."""
        return [mutant for mutant in self.mutants if not mutant.killed_by]

    def __bool__(self) -> bool:
        return self.ok

    def to_json(self) -> dict[str, Any]:
        """Return all of it in dictionaries, lists, numbers and text; what is infinite is None."""
        fields = asdict(self)
        for row, check in zip(fields["checks"], self.checks, strict=True):
            row |= {"error": check.error if math.isfinite(check.error) else None, "ok": check.ok}
        return {"name": self.name, "ok": self.ok, **fields}

    def __str__(self) -> str:
        verdict = f"\n{'passed' if self.ok else 'FAILED'} in {self.seconds:.1f} s"
        return "\n".join([*self._head(), *self._rows(), *self._about_mutants(), verdict])

    def _head(self) -> list[str]:
        cases = f"{len(self.cases)} cases" if len(self.cases) > 1 else "one case"
        larger = f"also {_listed(self.larger)}" if self.larger else "none larger was found that it takes"
        return [
            f"{self.name}: {cases}, float64, random cotangents",
            f"sizes: {_listed(self.sizes)}; for first derivatives {larger}",
            f"in memory: contiguous; for first derivatives also {_listed(self.layouts)}",
            *(["held in differences, as in the definition: what stop_gradient returns"] if self.holds else []),
            *([f"differs by design: {self.differs_by_design}"] if self.differs_by_design else []),
            *([f"without a gradient, by the definition: {_listed(self.constants)}"] if self.constants else []),
            "",
        ]

    def _rows(self) -> list[str]:
        rows = [("check", "largest error", "bound", "", "in")]
        for check in self.checks:
            figures = (f"{check.error:.1e}", f"{check.bound:.1e}") if check.cases else ("-", "-")
            word = "FAILED" if not check.ok else "ok" if check.cases else "not compared"
            if check.name == BY_DESIGN:
                figures, word = (figures[0], "-"), "differs by design"
            rows.append((check.name, *figures, word, check.case))
        lines = format_table(rows, "<>><").splitlines()
        lines += [f"  {check.name}: {check.message}" for check in self.checks if not check.ok]
        return lines + [
            f"  {check.name}: {check.skipped} of {check.cases + check.skipped} cases not compared, their numbers are "
            "beyond float32"
            for check in self.checks
            if check.skipped
        ]

    def _about_mutants(self) -> list[str]:
        if not self.mutants:
            plain = "none is to be the derivative" if self.differs_by_design else "it runs no op with a gradient"
            why = plain if self.ok else "a check failed already"
            return ["", f"wrong gradients: none tried, as {why}"]
        killed = len(self.mutants) - len(self.survived)
        besides = f"; {self.without_effect} more made no difference here" if self.without_effect else ""
        lines = ["", f"wrong gradients made on purpose: {killed} of {len(self.mutants)} killed{besides}"]
        for check, words in KILLERS.items():
            count = sum(check in mutant.killed_by for mutant in self.mutants)
            lines += [f"  {count} by {words}"] if count else []
        return lines + [
            f"  SURVIVED: {lost.change} of {lost.op} in {lost.case or 'its case'}" for lost in self.survived
        ]


KILLERS = {
    "composition": "the composition",
    "differences": "finite differences",
    "layouts": "other memory layouts",
    "repeated": "going back twice",
}


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def certify(
    what: Any,
    *inputs: Any,
    name: str = "",
    seed: int = 0,
    progress: Callable[[list[Case], str], Iterable[Case]] = lambda cases, doing: cases,
    **options: Any,
) -> Certificate:
    """Check the gradients of a layer, an op or a function, and whether wrong ones would be noticed.

    Where a fused op runs it is compared with its composition: value, first and second derivative, also for a constant
    input and one of large mean. Everything is compared with finite differences, twice, which hold what `stop_gradient`
    returns, and in float32 with float64; a derived norm, to the third derivative, with its definition in 100 digits.
    First derivatives have to be the same for inputs and cotangents of any strides, whichever inputs want one, and the
    second time; they are compared for larger inputs, too. Of an op that says `differs_by_design` only the value is, and
    how far its gradient is from the derivative is told. Then the op's gradient is made wrong in each way that is
    plausible, and first derivatives are checked again.

    Args:
        what: the name of a layer of `nn` or of an op of `ops`; "path/to/file.py:Name" or "package.module:Name"; a
            module, its class, an op's class, a norm that `derive` made, or a function of tensors.
        inputs: for something of your own: arrays, tensors, or shapes for random numbers. Floats are differentiated;
            without any, some that fit are looked for.
        name: what the certificate calls it.
        seed: of all that is random.
        progress: hands on the cases that it is given, with what is done with them in words, and may show each.
        options: keyword arguments of an op, a function or a derived norm, such as `axes`, which are chosen otherwise.

    Returns:
        The certificate, which is true if all is in order. The global random generator is as it was.

    Raises:
        ValueError: the name is not known, there is no gradient, no inputs fit, or an option is missing or unknown.

    Example:
        >>> found = certificate.certify(lambda x: ops.exp(x), np.array([0.5, 1.0]))
        >>> print(found.ok, [check.name for check in found.checks if not check.ok])
        True []
    """
    began, state = time.perf_counter(), random.state_dict()
    try:
        cases = cases_of(what, inputs, np.random.default_rng(seed), options)
        small, larger = [[case for case in cases if case.larger == wanted] for wanted in (False, True)]
        sizes, larger_sizes = [list(dict.fromkeys(case.size for case in some)) for some in (small, larger)]
        layouts = [*LAYOUTS, f"a cotangent {BROADCAST}"]
        certificate = Certificate(name or name_of(what), [case.name for case in small], sizes, larger_sizes, layouts)
        certificate.constants = list(dict.fromkeys(each for case in cases for each in case.constants))
        certificate.holds = any(case.held for case in small)
        certificate.differs_by_design = next((case.differs_by_design for case in small if case.differs_by_design), "")
        certificate.checks = _checks([each for case in progress(cases, "checks") for each in findings(case)])
        if certificate.ok:
            judged = [case for case in cases if case.mutated and not case.differs_by_design]
            for case in progress(judged, "wrong gradients"):
                _mutate(case, certificate)
    finally:
        random.load_state_dict(state)
    certificate.seconds = time.perf_counter() - began
    return certificate


def _checks(found: Sequence[Deviation]) -> list[Check]:
    """Return the worst finding of each row; one with a message is worse than any without."""
    checks = []
    for row in (*ROWS, BY_DESIGN):
        own = [finding for finding in found if finding.row == row]
        if own:
            worst = max(own, key=lambda finding: (bool(finding.message), finding.error / max(finding.bound, 1e-300)))
            compared, skipped = [len({f.case for f in own if f.skipped == wanted}) for wanted in (False, True)]
            checks.append(Check(row, worst.error, worst.bound, worst.case, worst.message, compared, skipped))
    return checks


def _mutate(case: Case, certificate: Certificate) -> None:
    """Make each mutant of each class of op that a case runs, and add what kills it, or that it changed nothing."""
    right = _results(case)
    for kind in case.ops():
        for name, change in mutants_of(kind, len(case.inputs)).items():
            with mutated(kind, change):
                if any(_differ(*pair) for pair in zip(right, _results(case), strict=True)):
                    certificate.mutants.append(Mutant(kind.__name__, name, case.name, kills(case)))
                else:
                    certificate.without_effect += 1


def _results(case: Case) -> list[Array]:
    """Return what a mutant may change: the gradients, those of a cotangent in another layout, and the cotangent."""
    leaves = case.leaves()
    output = case.call(*leaves)
    cotangent = Tensor.wrap(random_cotangent(output))
    found = go_back(output, leaves, cotangent)
    return [*found, *gradients(case, case.leaves(), in_fortran_order)[1], cotangent.raw]


def _differ(right: Array, wrong: Array) -> bool:
    return not np.allclose(right, wrong, rtol=1e-8, atol=1e-9 * float(np.abs(right).max(initial=0)))
