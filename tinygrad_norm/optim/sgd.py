"""Stochastic gradient descent."""

from __future__ import annotations

from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import item
from tinygrad_norm.optim.optimizer import Group, Optimizer, Parameters, State


class SGD(Optimizer):
    """Follow the gradient, or with momentum a running sum of gradients.

    Args:
        params: tensors, or groups of them.
        lr: learning rate, the length of a step.
        momentum: how much of the running sum is kept at each step.
        dampening: how much of each later gradient is kept out of the running sum.
        weight_decay: added to the gradient, times the parameter: the gradient of an L2 penalty.
        nesterov: look ahead, by one more step of momentum. Wants momentum and no dampening.
        maximize: go up instead of down.

    Raises:
        TypeError: something that is no tensor, or an option of the wrong type.
        ValueError: no parameters, one given twice, or an option out of range.

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013; in PyTorch's
        form, where the learning rate scales the running sum and not what enters it.

    Example:
        >>> w = nn.Parameter([3.0])
        >>> optimizer = optim.SGD([w], lr=0.1)
        >>> (w**2).sum().backward()
        >>> optimizer.step()
        >>> w.numpy()  # 3 - 0.1 · 6
        array([2.4], dtype=float32)
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        options |= {"nesterov": nesterov, "maximize": maximize}
        super().__init__(params, options, buffers={"momentum_buffer": "momentum"})

    def check(self, group: Group) -> None:
        """Raise a ValueError or TypeError if the options of a group are not allowed, alone or together."""
        super().check(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                "nesterov=True needs momentum above 0 and dampening=0, "
                f"got momentum={group['momentum']} and dampening={group['dampening']}"
            )

    def update(self, parameter: Array, gradient: Array, state: State, group: Group) -> None:
        """Take one step of gradient descent."""
        first = "momentum_buffer" not in state
        self.run(
            "sgd_update",
            parameter,
            gradient,
            [self.buffer("momentum_buffer", parameter, state, group)],
            lr=item(group, "lr"),
            momentum=item(group, "momentum"),
            dampening=0.0 if first else item(group, "dampening"),  # the running sum starts as the gradient itself
            weight_decay=item(group, "weight_decay"),
            nesterov=group["nesterov"],
        )
