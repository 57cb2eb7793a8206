"""A tape that ran once, replayed: `capture`."""

from tinygrad_norm.plan.captured import Captured as Captured
from tinygrad_norm.plan.captured import capture as capture
