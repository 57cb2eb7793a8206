"""How near somebody's norm is to its formula, in this framework and in others."""

from tinygrad_norm.conformance.checks import Finding
from tinygrad_norm.conformance.measurement import Conformance, measure

__all__ = ["Conformance", "Finding", "measure"]
