from __future__ import annotations

from tinygrad_norm.derivation.committed import GENERATED, generated


def test_committed_kernels_are_what_is_written_from_the_definitions_to_the_byte():
    """If not: python -m tinygrad_norm.derivation.committed."""
    committed = {path.name: path.read_text(encoding="utf-8") for path in GENERATED.glob("[!_]*.py")}
    assert committed == generated()
