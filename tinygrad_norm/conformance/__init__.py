"""How near somebody's norm is to its formula, in this framework and in others."""

from tinygrad_norm.conformance.measurement import Conformance, measure
from tinygrad_norm.conformance.trials import Outcome

__all__ = ["Conformance", "Outcome", "measure"]
