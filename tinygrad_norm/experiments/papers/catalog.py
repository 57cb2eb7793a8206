"""The papers by name."""

from __future__ import annotations

from tinygrad_norm.experiments.papers import xiong
from tinygrad_norm.experiments.papers.paper import PaperExperiment

PAPERS: dict[str, PaperExperiment] = {
    "xiong": xiong,
}
"""In the order of the index."""
