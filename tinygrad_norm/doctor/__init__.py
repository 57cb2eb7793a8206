"""The norm doctor: what is wrong with a model's norm layers, and what to do about it."""

from __future__ import annotations

from tinygrad_norm.doctor.checks import Finding, Thresholds
from tinygrad_norm.doctor.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "Finding", "Thresholds", "diagnose"]
