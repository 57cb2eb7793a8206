"""Mutants that change nothing a caller can see, each with the reason, as found by hand among survivors.

A mutant is named by its file, its function, and the text that replaces another: stable while that code stays.
"""

from __future__ import annotations

EQUIVALENTS: dict[tuple[str, str, str, str], str] = {}
"""From file, function, text before and text after, to why no test can tell."""
