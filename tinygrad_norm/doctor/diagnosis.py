"""The norm doctor: what is wrong with a model's norm layers, in words, and what to do about it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from tinygrad_norm.checks import refuse_unknown
from tinygrad_norm.doctor.examination import Examination, LayerFigures, examine
from tinygrad_norm.doctor.findings import CHECKS, SEVERITIES, Finding, Thresholds, decaying_norms, judge
from tinygrad_norm.nn.module import Module
from tinygrad_norm.optim import Optimizer
from tinygrad_norm.tables import plural
from tinygrad_norm.training.logs import strict_json

WIDTH = 110
"""Columns of the table in words."""


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found: `str` gives a table in words, the most serious first; it is true if anything was found.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1D(32), nn.ReLU(), nn.Linear(32, 10))
        >>> diagnosis = doctor.diagnose(model, data.DataLoader(data.digits("test"), batch_size=71))
        >>> bool(diagnosis), len(diagnosis.findings) > 0
        (True, True)
    """

    findings: list[Finding]
    examination: Examination
    optimizer_checked: bool

    @property
    def layers(self) -> list[LayerFigures]:
        """The figures of each norm layer, healthy or not, in the order of the modules."""
        return self.examination.layers

    def __bool__(self) -> bool:
        return bool(self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the findings and all figures, in what strict JSON can say."""
        findings = [asdict(finding) for finding in self.findings]
        return {"findings": findings, **strict_json(asdict(self.examination))}

    def __str__(self) -> str:
        return "\n".join([self._headline(), "", *(_table(self.findings) if self else []), *self._checked()])

    def _headline(self) -> str:
        seen = self.examination
        batches = plural(seen.batches, "batch", "batches")
        on = f"{plural(len(seen.layers), 'norm layer')}, {plural(seen.examples, 'example')} in {batches}"
        if not self:
            return f"All is well: {on}."
        counts = Counter(finding.severity for finding in self.findings)
        found = [plural(counts[severity], severity) for severity in reversed(SEVERITIES) if counts[severity]]
        return f"Found {', '.join(found)}: {on}."

    def _checked(self) -> list[str]:
        words, decay = [words for words, _ in CHECKS.values()], "weight decay on norms"
        rest = "" if self.optimizer_checked else f" Not checked, for want of the optimizer: {decay}."
        lines = [f"Checked: {', '.join(words + [decay] * self.optimizer_checked)}.{rest}", *self._left_out()]
        return [wrapped for line in lines for wrapped in textwrap.wrap(line, WIDTH)]

    def _left_out(self) -> Iterator[str]:
        """Yield which checks were not made of which layers, and why; layers of which the same is said share a line."""
        merged: dict[tuple[str, str], list[str]] = {}
        for layer in self.layers:
            for why in dict.fromkeys(layer.left_out.values()):
                words = ", ".join(CHECKS[name][0] for name in layer.left_out if layer.left_out[name] == why)
                merged.setdefault((why, words), []).append(f"{layer.path} ({layer.kind})")
        for (why, words), layers in merged.items():
            yield f"Left out at {_few(layers)}, {why}: {words}."


def diagnose(
    model: Module, loader: Iterable[Any], optimizer: Optimizer | None = None, **thresholds: float
) -> Diagnosis:
    """Examine every norm layer of a model on data, and say what is wrong and what to do about it.

    A check that makes no sense for a layer, as of the values that share a mean where none do, is left out of it, which
    the diagnosis says.

    The model, its gradients, the random state and the loader's position are afterwards as before. Each batch is run
    twice, with the norms as in inference and as in training, and all else as in inference; the first once more, as in
    training, for its tape. Norms that are in inference while other parts train are in inference both times.

    Args:
        model: is called with each batch.
        loader: the batches it trains on: arrays, or tuples that begin with the array of inputs.
        optimizer: the one that trains it, for its weight decay.
        thresholds: those of `checks.Thresholds` that should differ, by name: from where on something is said.

    Raises:
        TypeError: an argument is of another type, or the model returns no tensor.
        ValueError: the model has no norm layer, the loader no batch, or the optimizer is another model's; what the
            model raises at a batch that does not fit.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1D(32), nn.ReLU(), nn.Linear(32, 10))
        >>> diagnosis = doctor.diagnose(model, data.DataLoader(data.digits("test"), batch_size=71))
        >>> [finding.advice for finding in diagnosis.findings if finding.check == "useless bias"]
        ['Make the layer of 1.bias with bias=False.']
    """
    refuse_unknown("diagnose", thresholds, [limit.name for limit in fields(Thresholds)])
    limits = Thresholds(**thresholds)
    decaying = [] if optimizer is None else list(decaying_norms(model, optimizer))
    examination = examine(model, loader, limits.vanishing)
    findings = sorted([*judge(examination, limits), *decaying], key=lambda found: -SEVERITIES.index(found.severity))
    return Diagnosis(findings, examination, optimizer is not None)


def _table(findings: list[Finding]) -> Iterator[str]:
    """Yield a row for each finding: layer, severity, what was seen, and below it what to do; like ones share a row."""
    merged: dict[tuple[str, str, str], list[str]] = {}
    for finding in findings:
        merged.setdefault((finding.severity, finding.seen, finding.advice), []).append(finding.path)
    rows = [(_few(paths), *words) for words, paths in merged.items()]
    width = max(len("Layer"), *(len(row[0]) for row in rows))
    yield f"{'Layer':{width}}  Severity  What was seen, and what to do"
    yield f"{'-' * width}  --------  {'-' * (WIDTH - width - 12)}"
    for paths, severity, seen, advice in rows:
        lines = textwrap.wrap(seen, WIDTH - width - 12) + textwrap.wrap(f"-> {advice}", WIDTH - width - 12)
        yield f"{paths:{width}}  {severity:8}  {lines[0]}"
        yield from (f"{'':{width}}            {line}" for line in lines[1:])
    yield ""


def _few(paths: list[str]) -> str:
    return ", ".join(paths) if len(paths) < 4 else f"{paths[0]}, {paths[1]} and {len(paths) - 2} more"
