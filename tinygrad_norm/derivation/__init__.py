"""From a definition to its formula, its gradient and their derivation: `derive`."""

from tinygrad_norm.derivation.derived import DerivedNorm as DerivedNorm
from tinygrad_norm.derivation.derived import derive as derive
