"""The page that lists the papers with their verdicts, written from their results.

`python -m tinygrad_norm.experiments.papers.index docs/papers` writes README.md from the paper-NAME.json beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tinygrad_norm.experiments.papers.catalog import PAPERS
from tinygrad_norm.experiments.papers.paper import Judgement, Paper, PaperExperiment, cite
from tinygrad_norm.experiments.report import Measurements
from tinygrad_norm.files import write_atomically

HEAD = """# Papers, redone

`tinygrad-norm experiment paper:NAME -o docs/papers` measures one again, in minutes; `--quick` in seconds, `--seeds N`
with other seeds. Each report has the paper's claim and number, ours, and a verdict, which a function makes of the
figures: of two things one is called lower only where their ranges over the seeds do not overlap. Everything here is
small, on digits and MNIST-1D; that a claim is not seen here says nothing of the nets and data of the paper. The times
that reports give were taken on a busy machine. This page is written by
`python -m tinygrad_norm.experiments.papers.index docs/papers`.

| paper | verdict |
|---|---|
"""


def as_page(folder: Path, papers: Mapping[str, PaperExperiment] = PAPERS) -> str:
    """Return the page: a table of verdicts, then each paper whose result lies in the folder.

    Raises:
        FileNotFoundError: no result lies there.
    """
    found = {name: folder / f"paper-{name}.json" for name in papers if (folder / f"paper-{name}.json").exists()}
    if not found:
        raise FileNotFoundError(f"{folder} holds no result of a paper: paper-NAME.json, as an experiment leaves it")
    judged = {
        name: papers[name].judge(Measurements(json.loads(path.read_text(encoding="utf-8"))))
        for name, path in found.items()
    }
    rows = [f"| [{name}](#{name}), {papers[name].PAPER.year} | {judged[name].verdict} |\n" for name in judged]
    return HEAD + "".join(rows) + "".join(_section(name, papers[name].PAPER, judged[name]) for name in judged)


def _section(name: str, paper: Paper, judgement: Judgement) -> str:
    lines = [
        f"Claim: {paper.claim}",
        f"Figures: {paper.number}",
        *(f"Ours **{finding.outcome}**: {finding.claim}. {finding.ours}" for finding in judgement.findings),
        f"Verdict: {judgement.verdict}.",
    ]
    return f"\n## {name}\n\n{cite(paper)}; [the report](paper-{name}.md).\n\n" + "".join(
        f"- {line}\n" for line in lines
    )


def main(folder: str) -> None:
    """Write the page into a folder."""
    write_atomically(Path(folder, "README.md"), as_page(Path(folder)).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
