"""The certificate: what all checks found in all cases, and which slips, made on purpose, they noticed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.certificate.case import Case
from tinygrad_norm.certificate.checks import ROWS, Finding, findings, gradients, notices
from tinygrad_norm.certificate.mutations import mutated, slips_of
from tinygrad_norm.certificate.subject import cases_of, name_of
from tinygrad_norm.tape import Array


@dataclass(frozen=True)
class Check:
    """A row: the case in which a check found most, measured by what is tolerated there."""

    name: str
    error: float
    bound: float
    case: str
    message: str

    @property
    def ok(self) -> bool:
        """Whether no case failed."""
        return not self.message


@dataclass(frozen=True)
class Mutation:
    """A slip that was made on purpose in one op in one case, and the checks that noticed it."""

    op: str
    slip: str
    case: str
    noticed_by: list[str]


@dataclass
class Certificate:
    """What was checked and found; true if all of it is in order and no slip went unnoticed."""

    name: str
    cases: list[str]
    checks: list[Check] = field(default_factory=list)
    mutations: list[Mutation] = field(default_factory=list)
    """None are made where a check has failed already: it would fail for any."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every check passed, and every slip was noticed."""
        return all(check.ok for check in self.checks) and not self.unnoticed

    @property
    def unnoticed(self) -> list[Mutation]:
        """The slips that no check noticed."""
        return [mutation for mutation in self.mutations if not mutation.noticed_by]

    def __bool__(self) -> bool:
        return self.ok

    def to_json(self) -> dict[str, Any]:
        """All of it in dictionaries, lists, numbers and text; what is infinite is None."""
        checks = [
            {**asdict(check), "error": check.error if math.isfinite(check.error) else None, "ok": check.ok}
            for check in self.checks
        ]
        return {
            "name": self.name,
            "ok": self.ok,
            "cases": self.cases,
            "checks": checks,
            "mutations": [asdict(mutation) for mutation in self.mutations],
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        return "\n".join([*self._head(), *self._rows(), *self._about_mutations(), self._verdict()])

    def _head(self) -> list[str]:
        cases = f"{len(self.cases)} cases" if len(self.cases) > 1 else "one case"
        return [f"{self.name}: {cases}, float64, random cotangents", ""]

    def _rows(self) -> list[str]:
        rows = [("check", "largest error", "bound", "", "in")]
        for check in self.checks:
            figures = f"{check.error:.1e}", f"{check.bound:.1e}"
            rows.append((check.name, *figures, "ok" if check.ok else "FAILED", check.case))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{name:{widths[0]}}  {error:>{widths[1]}}  {bound:>{widths[2]}}  {ok:{widths[3]}}  {case}".rstrip()
            for name, error, bound, ok, case in rows
        ]
        return [*lines, *(f"  {check.name}: {check.message}" for check in self.checks if not check.ok)]

    def _about_mutations(self) -> list[str]:
        if not self.mutations:
            why = (
                "it runs no op with a gradient" if all(check.ok for check in self.checks) else "a check failed already"
            )
            return ["", f"wrong gradients: none tried, as {why}"]
        noticed = len(self.mutations) - len(self.unnoticed)
        lines = ["", f"wrong gradients made on purpose: {noticed} of {len(self.mutations)} noticed"]
        for check in ("composition", "differences"):
            count = sum(check in mutation.noticed_by for mutation in self.mutations)
            lines += [f"  {count} by {CHECKS[check]}"] if count else []
        return lines + [
            f"  UNNOTICED: {lost.slip} of {lost.op} in {lost.case or 'its case'}" for lost in self.unnoticed
        ]

    def _verdict(self) -> str:
        return f"\n{'passed' if self.ok else 'FAILED'} in {self.seconds:.1f} s"


CHECKS = {"composition": "the composition", "differences": "finite differences"}


def certify(what: Any, *inputs: Any, name: str = "", seed: int = 0) -> Certificate:
    """Check the gradients of a layer, an op or a function, and whether wrong ones would be noticed.

    Where a fused op runs it is compared with its composition: value, first and second derivative, also for a constant
    input and one of large mean. Everything is compared with finite differences, twice, and in float32 with float64.
    Then the op's gradient is made wrong in each way that is plausible, and first derivatives are checked again.

    Args:
        what: the name of a layer of `nn` or of an op of `ops`; "path/to/file.py:Name" or "package.module:Name"; a
            module, its class, an op's class, or a function of tensors.
        inputs: for something of your own: arrays, tensors, or shapes for random numbers. Floats are differentiated;
            without any, some that fit are looked for.
        name: what the certificate calls it.
        seed: of all that is random.

    Returns:
        The certificate, which is true if all is in order. The global random generator is as it was.

    Raises:
        ValueError: the name is not known, there is no gradient, or no inputs fit.
    """
    began, state = time.perf_counter(), random.state_dict()
    try:
        cases = cases_of(what, inputs, np.random.default_rng(seed))
        found = [finding for case in cases for finding in findings(case)]
        certificate = Certificate(name or name_of(what), [case.name for case in cases], _checks(found))
        if certificate.ok:
            for case in cases:
                if case.mutated:
                    certificate.mutations += _mutations(case)
    finally:
        random.load_state_dict(state)
    certificate.seconds = time.perf_counter() - began
    return certificate


def _checks(found: Sequence[Finding]) -> list[Check]:
    """The worst finding of each row; one with a message is worse than any without."""
    checks = []
    for row in ROWS:
        own = [finding for finding in found if finding.row == row]
        if own:
            worst = max(own, key=lambda finding: (bool(finding.message), finding.error / max(finding.bound, 1e-300)))
            checks.append(Check(row, worst.error, worst.bound, worst.case, worst.message))
    return checks


def _mutations(case: Case) -> Iterable[Mutation]:
    """Each slip that changes the gradients of a case, in each class of op that it runs, and who notices."""
    _, right = gradients(case, case.leaves())
    for kind in case.ops():
        for slip, change in slips_of(kind, len(case.inputs)).items():
            with mutated(kind, change):
                _, wrong = gradients(case, case.leaves())
                if any(_differ(*pair) for pair in zip(right, wrong, strict=True)):  # or it is none
                    yield Mutation(kind.__name__, slip, case.name, notices(case))


def _differ(right: Array, wrong: Array) -> bool:
    return not np.allclose(right, wrong, rtol=1e-8, atol=1e-9 * float(np.abs(right).max(initial=0)))
