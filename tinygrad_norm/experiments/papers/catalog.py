"""The papers by name."""

from __future__ import annotations

from tinygrad_norm.experiments.papers import (
    bjorck,
    dyt,
    evalnorm,
    fixup,
    frankle,
    ioffe,
    luo,
    santurkar,
    wu_he,
    wu_johnson,
    xiong,
)
from tinygrad_norm.experiments.papers.paper import PaperExperiment

PAPERS: dict[str, PaperExperiment] = {
    "santurkar": santurkar,
    "bjorck": bjorck,
    "frankle": frankle,
    "wu-johnson": wu_johnson,
    "ioffe": ioffe,
    "evalnorm": evalnorm,
    "luo": luo,
    "xiong": xiong,
    "fixup": fixup,
    "dyt": dyt,
    "wu-he": wu_he,
}
"""In the order of the index."""
