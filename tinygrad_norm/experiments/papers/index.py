"""The page that lists the papers with their verdicts, written from their results.

`python -m tinygrad_norm.experiments.papers.index docs/papers` writes README.md from the paper-NAME.json beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tinygrad_norm.experiments.papers.catalog import PAPERS
from tinygrad_norm.experiments.papers.paper import PaperExperiment, cite
from tinygrad_norm.experiments.report import Measurements
from tinygrad_norm.files import write_atomically

HEAD = """# Papers, redone

`tinygrad-norm experiment paper:NAME -o docs/papers` measures one again, in minutes; `--quick` in seconds, `--seeds N`
with other seeds. Each report has the paper's claim and number, ours, and a verdict, which a function makes of the
figures: of two things one is called lower only where their ranges over the seeds do not overlap. Everything here is
small, on digits and MNIST-1D; that a claim is not seen here says nothing of the nets and data of the paper. This page
is written by `python -m tinygrad_norm.experiments.papers.index docs/papers`.

| paper | its claim and figures | ours | verdict |
|---|---|---|---|
"""


def as_page(folder: Path, papers: Mapping[str, PaperExperiment] = PAPERS) -> str:
    """Return the page: a row for each paper whose result lies in the folder.

    Raises:
        FileNotFoundError: no result lies there.
    """
    found = {name: folder / f"paper-{name}.json" for name in papers if (folder / f"paper-{name}.json").exists()}
    if not found:
        raise FileNotFoundError(f"{folder} holds no result of a paper: paper-NAME.json, as an experiment leaves it")
    return HEAD + "".join(_row(name, papers[name], path) for name, path in found.items())


def _row(name: str, module: PaperExperiment, path: Path) -> str:
    judgement = module.judge(Measurements(json.loads(path.read_text(encoding="utf-8"))))
    ours = "<br>".join(f"{finding.claim}: {finding.outcome}. {finding.ours}" for finding in judgement.findings)
    claim = f"{module.PAPER.claim}<br>{module.PAPER.number}"
    return f"| [{name}](paper-{name}.md): {cite(module.PAPER)} | {claim} | {ours} | **{judgement.verdict}** |\n"


def main(folder: str) -> None:
    """Write the page into a folder."""
    write_atomically(Path(folder, "README.md"), as_page(Path(folder)).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
