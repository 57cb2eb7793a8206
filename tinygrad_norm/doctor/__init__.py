"""The norm doctor: what is wrong with a model's norm layers, and what to do about it."""

from __future__ import annotations

from tinygrad_norm.doctor.diagnosis import Diagnosis, diagnose
from tinygrad_norm.doctor.findings import Finding, Thresholds

__all__ = ["Diagnosis", "Finding", "Thresholds", "diagnose"]
