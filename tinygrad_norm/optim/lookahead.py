"""Lookahead, around any other optimizer."""

from __future__ import annotations

from tinygrad_norm import generation
from tinygrad_norm.checks import Range, check_integer, check_number, check_type
from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import item, launch, lookup
from tinygrad_norm.optim.optimizer import Group, Optimizer, State

_ALPHA = Range("a number above 0 and up to 1", lambda value: 0 < value <= 1)


class Lookahead(Optimizer):
    """Let another optimizer explore for `k` steps, go a part of the way to where it arrived, and explore from there.

    The groups and the state are those of the wrapped optimizer, with one buffer more, so schedules may hold either.

    Args:
        optimizer: the one that makes the steps.
        k: steps between two meetings, at least 1.
        alpha: the part of the way, above 0 and up to 1.

    Source: Zhang et al., Lookahead optimizer: k steps forward, 1 step back, 2019.

    Example:
        >>> w = nn.Parameter([3.0])
        >>> optimizer = optim.Lookahead(optim.SGD([w], lr=0.1), k=2, alpha=0.5)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     (w**2).sum().backward()
        ...     optimizer.step()
        >>> print(w.numpy().round(3))  # half of the way from 3 to 3 · 0.8²
        [2.46]
    """

    def __init__(self, optimizer: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        check_type("Lookahead: optimizer", optimizer, Optimizer, "one, such as SGD(...)")
        self.k = check_integer("Lookahead: k", k, 1)
        self.alpha = check_number("Lookahead: alpha", alpha, _ALPHA)
        self.optimizer = optimizer
        self.defaults, self.param_groups, self.state = optimizer.defaults, optimizer.param_groups, optimizer.state
        self.first_lrs, self.buffers = optimizer.first_lrs, {**optimizer.buffers, "slow": None}
        self._checked = {}

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        generation.advance()

    def check(self, group: Group) -> None:
        """Raise what the wrapped optimizer raises about a group's options."""
        self.optimizer.check(group)

    def update(self, parameter: Array, gradient: Array, state: State, group: Group) -> None:
        """Take one step of the wrapped optimizer, and at every k-th meet the slow weights."""
        if "slow" not in state:
            state["slow"] = launch(parameter.copy)
        slow = state["slow"] = lookup(state, "slow").astype(parameter.dtype, copy=False)  # the model may be converted
        self.optimizer.update(parameter, gradient, state, group)
        launch(_meet, parameter, slow, item(state, "step"), self.k, self.alpha)


def _meet(parameter: Array, slow: Array, step: int, k: int, alpha: float) -> None:
    """Go a part of the way from the slow weights to the parameter, at every k-th step, and leave both there."""
    if step % k == 0:
        slow += alpha * (parameter - slow)
        parameter[...] = slow
