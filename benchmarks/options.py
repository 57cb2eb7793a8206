"""What a run was asked for."""

from __future__ import annotations

from typing import NamedTuple


class Options(NamedTuple):
    """The nets, the number of rounds (None: as many as fit in their time), and whether torch.compile takes part."""

    nets: list[str]
    rounds: int | None = None
    compile: bool = False
