"""The papers by name."""

from __future__ import annotations

from tinygrad_norm.experiments.papers.paper import PaperExperiment

PAPERS: dict[str, PaperExperiment] = {}
"""In the order of the index."""
