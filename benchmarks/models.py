"""Training and inference of each net of the zoo, beside PyTorch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from importlib.util import find_spec

from benchmarks import targets
from benchmarks.contenders import (
    COMPILED,
    JAX,
    OURS,
    inference_forms,
    our_inference,
    our_training,
    torch_inference,
    torch_training,
    training_forms,
)
from benchmarks.nets import BATCH, NETS
from benchmarks.options import Options
from benchmarks.report import TIMING_HEADER, Report, milliseconds, progress, ratio, timing_rows
from benchmarks.timing import Maker, Team, Timing

HEADER = ["", OURS, "PyTorch", "fastest form", "ratio (10–90 %)", "by minima", "target", COMPILED, JAX]  # noqa: RUF001


def run(report: Report, options: Options) -> None:
    """Time training and inference of the nets, and judge the ratios to the fastest eager PyTorch."""
    rows: dict[str, list[list[str]]] = {"training step, batch 64": [], **{f"inference, batch {n}": [] for n in (1, 64)}}
    for name in options.models:
        with Team() as team:
            for kind, found in measure(team, name, options).items():
                ...
