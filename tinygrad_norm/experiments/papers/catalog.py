"""The papers by name."""

from __future__ import annotations

from tinygrad_norm.experiments.papers import bjorck, evalnorm, frankle, ioffe, santurkar, wu_johnson, xiong
from tinygrad_norm.experiments.papers.paper import PaperExperiment

PAPERS: dict[str, PaperExperiment] = {
    "santurkar": santurkar,
    "bjorck": bjorck,
    "frankle": frankle,
    "wu-johnson": wu_johnson,
    "ioffe": ioffe,
    "evalnorm": evalnorm,
    "xiong": xiong,
}
"""In the order of the index."""
