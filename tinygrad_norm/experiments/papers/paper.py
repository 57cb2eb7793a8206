"""What a paper claims, what is seen here of it, and the verdict in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread, which_is_lower
from tinygrad_norm.figures import Figure

Outcome = Literal["agrees", "does not show", "contradicts"]
AGREES: Outcome = "agrees"
NOT_SHOWN: Outcome = "does not show"
CONTRADICTS: Outcome = "contradicts"


class Paper(NamedTuple):
    """A paper: the claim in our words, the number as the paper gives it, with the setting it was measured in."""

    authors: str
    title: str
    year: int
    claim: str
    number: str


class Finding(NamedTuple):
    """One part of a claim, what our figures say to it, and these figures in a sentence."""

    claim: str
    outcome: Outcome
    ours: str


class Judgement(NamedTuple):
    """What our figures say to each part of a paper's claim, and how our setting differs from the paper's."""

    findings: tuple[Finding, ...]
    setting: str

    @property
    def verdict(self) -> str:
        """The verdict in words: one outcome, or how many parts of the claim have which."""
        counts = Counter(finding.outcome for finding in self.findings)
        if len(counts) == 1:
            return {AGREES: "agrees", NOT_SHOWN: "does not show it", CONTRADICTS: "contradicts"}[next(iter(counts))]
        words = {AGREES: "agrees in", NOT_SHOWN: "does not show", CONTRADICTS: "contradicts"}
        return f"{', '.join(f'{words[o]} {counts[o]}' for o in words if counts[o])} of {len(self.findings)} parts"


class PaperExperiment(Protocol):
    """What the module of a paper holds: an experiment, the paper, and the rule by which it is judged."""

    PAPER: Paper
    QUESTION: str
    FULL: Any
    QUICK: Any

    def run(self, settings: Any, progress: Progress) -> Measurements:
        """Do the work; FULL and QUICK are such settings."""

    def judge(self, result: Measurements) -> Judgement:
        """Hold the figures against the claim."""

    def tell(self, result: Measurements) -> Story:
        """Put a result into words: `retell` with the tables."""

    def draw(self, result: Measurements) -> Figure:
        """Draw a result."""


def is_lower(lower: Spread, higher: Spread) -> Outcome:
    """Judge a claim that the first is lower: shown, or contradicted, only where the ranges do not overlap."""
    return {-1: AGREES, 0: NOT_SHOWN, 1: CONTRADICTS}[which_is_lower(lower, higher)]


def is_no_higher(a: Spread, b: Spread) -> Outcome:
    """Judge a claim that the first is not above the second: contradicted only where it is, by ranges that are apart.

    Ranges that overlap do not prove two things equal; they agree with it at this number of seeds, if more than one.
    """
    if min(len(a.values), len(b.values)) < 2:
        return NOT_SHOWN
    return CONTRADICTS if which_is_lower(b, a) < 0 else AGREES


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Join what was found at several settings: all must agree to agree, and none if one is to contradict."""
    found = set(outcomes)
    if found == {AGREES}:
        return AGREES
    return CONTRADICTS if CONTRADICTS in found and AGREES not in found else NOT_SHOWN


def retell(paper: Paper, judgement: Judgement, tables: Sequence[Table], how: str) -> Story:
    """Tell what the paper claims, what was found here, and the verdict; then the tables and how it was done."""
    summary = [
        f"The paper ({cite(paper)}): {paper.claim}",
        f"Its figures: {paper.number}",
        *(f"{finding.claim}: {_said(finding.outcome)}. {finding.ours}" for finding in judgement.findings),
        f"Verdict: {judgement.verdict}.",
        f"The setting differs: {judgement.setting}",
    ]
    return Story(summary, tables, how)


def cite(paper: Paper) -> str:
    """Return authors, title and year."""
    return f"{paper.authors}, {paper.title}, {paper.year}"


def _said(outcome: Outcome) -> str:
    return {AGREES: "ours agrees", NOT_SHOWN: "ours does not show it", CONTRADICTS: "ours contradicts it"}[outcome]
