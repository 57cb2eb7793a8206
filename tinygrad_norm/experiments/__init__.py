"""Experiments on normalization: each a question, runs over several seeds, a table and a picture."""

from tinygrad_norm.experiments.registry import describe, names, run
from tinygrad_norm.experiments.report import Report

__all__ = ["Report", "describe", "names", "run"]
